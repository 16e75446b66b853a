"""Batching, pattern 3: an array in the store, ten items per execution."""

from typing import TypedDict

from ropewalk import Twist

BATCH_SIZE = 10


class Item(TypedDict):
    """Something to be processed."""

    id: int


class ItemSync(Twist):
    """Works through an array."""

    async def process_large_array(self, items: list[Item]) -> None:
        """Save the items and start processing."""
        await self.set("items_to_process", items)
        await self.set("process_index", 0)
        callback = await self.callback(self.process_batch)
        await self.run_task(callback)

    async def process_batch(self) -> None:
        """Process a batch, and go on while items are left."""
        items = await self.get("items_to_process", list[Item])
        index = await self.get("process_index", int)
        if not items or index is None or index >= len(items):
            await self.clear("items_to_process")
            await self.clear("process_index")
            return
        for item in items[index : index + BATCH_SIZE]:
            await self.process_item(item)
        new_index = index + BATCH_SIZE
        if new_index < len(items):
            await self.set("process_index", new_index)
            callback = await self.callback(self.process_batch)
            await self.run_task(callback)
        else:
            await self.clear("items_to_process")
            await self.clear("process_index")

    async def process_item(self, item: Item) -> None:
        """Count how often an item is processed."""
        key = f"processed:{item['id']:03}"
        await self.set(key, await self.get(key, int, default=0) + 1)
