"""Maintenance of the store: its status, damaged files, garbage, export and import.

inventory     the files in a store, its status, and files that can be removed
verify        every file read to its last byte
references    the items that manifests name, in all revisions of git
transfer      items copied from one store to another
"""

from hlclip.maintenance.inventory import StoredFile, find_garbage, remove_garbage, store_status
from hlclip.maintenance.references import Keep, named_items, workspace_items, workspace_manifests
from hlclip.maintenance.transfer import Transfer, transfer_items
from hlclip.maintenance.verify import remove_damaged, verify_store
