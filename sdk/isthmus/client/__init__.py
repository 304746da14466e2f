"""Call operations of other teams.

::

    client = await Client.connect(profile="data-team")
    payments = client.create_nexus_client(endpoint="payments", service=Payments)
    receipt = await payments.execute_operation(Payments.charge, Charge(amount=3), id="order-42")
"""

from isthmus.client.batch import Start
from isthmus.client.client import Client
from isthmus.client.completions import Completions, Events, SyncCompletions, SyncEvents
from isthmus.client.description import OperationDescription
from isthmus.client.feed import Completion
from isthmus.client.handle import OperationHandle
from isthmus.client.interceptor import (
    ClientOutbound,
    HandleInput,
    Interceptor,
    ProgressInput,
    ProgressUpdate,
    SignalInput,
    StartInput,
    StatusesInput,
    SyncClientOutbound,
)
from isthmus.client.nexus_client import NexusClient
from isthmus.client.profile import Profile, load_profile
from isthmus.client.published_events import Event, Published
from isthmus.client.request import StartOptions
from isthmus.client.statuses import OperationStatus
from isthmus.client.sync import SyncClient, SyncNexusClient, SyncOperationHandle

__all__ = [
    "Client",
    "ClientOutbound",
    "Completion",
    "Completions",
    "Event",
    "Events",
    "HandleInput",
    "Interceptor",
    "NexusClient",
    "OperationDescription",
    "OperationHandle",
    "OperationStatus",
    "Profile",
    "ProgressInput",
    "ProgressUpdate",
    "Published",
    "SignalInput",
    "Start",
    "StartInput",
    "StartOptions",
    "StatusesInput",
    "SyncClient",
    "SyncClientOutbound",
    "SyncCompletions",
    "SyncEvents",
    "SyncNexusClient",
    "SyncOperationHandle",
    "load_profile",
]
