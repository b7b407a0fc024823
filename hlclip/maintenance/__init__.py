"""Maintenance of the store: its status, damaged files, garbage, and copies elsewhere.

inventory     the files in a store, its status, and files that can be removed
references    the items that manifests name, in all revisions of git
items         items verified to their last byte, and copied to another store
bucket        a folder in object storage, its errors explained
remote        items pushed to object storage and pulled from it
comparison    frames decoded again, to find items made from another file
"""

from hlclip.maintenance.comparison import compare_frames
from hlclip.maintenance.inventory import find_garbage, remove_garbage, store_status
from hlclip.maintenance.items import Transfer, remove_damaged, transfer_items, verify_store
from hlclip.maintenance.references import (
    Keep,
    manifest_items,
    named_items,
    unreadable_error,
    workspace_items,
    workspace_manifests,
)
from hlclip.maintenance.remote import pull_items, push_items, remote_status
