"""Which answer belongs to which call."""

from __future__ import annotations

from ropewalk.answers import callbacks, network, plot, store, tasks, webhooks
from ropewalk.answers.interface import Answering
from ropewalk.wire import messages as wire

ANSWERS: dict[type[wire.Call], Answering] = {
    wire.StoreRead: store.store_read,
    wire.StoreWrite: store.store_write,
    wire.StoreDelete: store.store_delete,
    wire.StoreClear: store.store_clear,
    wire.StoreKeys: store.store_keys,
    wire.CallbackCreate: callbacks.callback_create,
    wire.CallbackResolve: callbacks.callback_resolve,
    wire.CallbackDelete: callbacks.callback_delete,
    wire.TaskRun: tasks.task_run,
    wire.TaskRecur: tasks.task_recur,
    wire.TaskCancel: tasks.task_cancel,
    wire.Fetch: network.fetch,
    wire.WebhookCreate: webhooks.webhook_create,
    wire.WebhookDelete: webhooks.webhook_delete,
    wire.ActivitiesCreate: plot.activities_create,
    wire.ActivityUpdate: plot.activity_update,
    wire.ActivityDelete: plot.activity_delete,
    wire.ActivityGet: plot.activity_get,
    wire.ActivitiesList: plot.activities_list,
    wire.NotesCreate: plot.notes_create,
    wire.NoteUpdate: plot.note_update,
    wire.NotesList: plot.notes_list,
}
"""Every call but Commit, which is the attempt's own affair."""

AHEAD: frozenset[type[wire.Call]] = frozenset({wire.StoreWrite, wire.StoreDelete, wire.TaskRun})
"""Calls that a guest need not wait for."""

WAITING: frozenset[type[wire.Call]] = frozenset({wire.Fetch, wire.WebhookCreate})
"""Calls whose answers wait: for the outside world, or for a key to be made. They run in tasks of their own."""
