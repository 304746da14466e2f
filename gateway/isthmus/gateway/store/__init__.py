"""The store: schema, statements one aggregate a module, migrations, and the embedded SQLite store.

From the caller inwards: ``sqlite`` is what implements ``ports.Store``; ``writer`` shares commits between
concurrent commands; ``unit_of_work`` is what a command sees; ``changes`` is what commands wrote and no
statement has carried to the database yet; ``flush`` carries it there; the modules named after aggregates hold
rows and statements.
"""
