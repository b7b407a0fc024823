"""The content-addressed store: arrays on disk, one HDF5 file per item.

store        items by key: made once, checked at reading
item_file    one array in one HDF5 file with checksums
locks        who works in a store
"""

from hlclip.store.item_file import DamagedItemError, StoredArray, open_item, read_checksums
from hlclip.store.locks import LOCK, StoreInUseError, hold_alone, holding
from hlclip.store.store import (
    FORMAT_VERSION,
    Store,
    StoreError,
    StoreUnreadableError,
    content_key,
    header_key,
    how_to_make,
    item_path,
    key_lock,
    repository,
    store_root,
)
