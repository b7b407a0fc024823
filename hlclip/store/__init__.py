"""The content-addressed store: arrays on disk, one HDF5 file per item.

place        where the store is, and the limit of the user's own
store        items by key: made once, checked at reading; who works in a store
item_file    one array in one HDF5 file with checksums
"""

from hlclip.store.item_file import DamagedItemError, StoredArray, digest, open_item, read_checksums
from hlclip.store.place import find_store, repository, store_root
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
)
