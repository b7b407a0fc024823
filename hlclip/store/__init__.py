"""The content-addressed store: arrays on disk, one HDF5 file per item.

store        items by key: made once, checked at reading; who works in a store
item_file    one array in one HDF5 file with checksums
"""

from hlclip.store.item_file import DamagedItemError, StoredArray, digest, open_item, read_checksums
from hlclip.store.store import (
    FORMAT_VERSION,
    LOCK,
    Store,
    StoreError,
    StoreInUseError,
    StoreUnreadableError,
    content_key,
    header_key,
    hold_alone,
    holding,
    how_to_make,
    item_path,
    key_lock,
    repository,
    store_root,
)
