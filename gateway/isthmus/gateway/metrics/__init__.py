"""What Prometheus reads of a gateway: counters of this process, and gauges of what waits in the store.

``instruments`` counts; ``backlog`` asks the store, seldom; ``exposition`` turns both into samples; ``http``
serves them.
"""
