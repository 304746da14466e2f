"""Runs migrations on the connection that ``store.migrate`` hands over, or prints what they would run."""

from alembic import context

from isthmus.gateway.store.migrations.code_points import compare_by_code_points
from isthmus.gateway.store.schema import metadata

if context.is_offline_mode():
    context.configure(
        dialect_name=context.config.attributes["dialect"], target_metadata=metadata, literal_binds=True
    )
else:
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        # SQLite cannot alter most of a table; Alembic then copies it.
        render_as_batch=True,
    )
compare_by_code_points(context.get_context().dialect)
with context.begin_transaction():
    context.run_migrations()
