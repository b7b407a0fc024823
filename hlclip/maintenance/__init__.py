"""Maintenance of the store: its status, damaged files, garbage, export and import.

inventory     the files in a store
status        how much a store holds, and how much of it manifests name
verify        every file read to its last byte
references    the items that manifests name, in all revisions of git
git           git's working trees and commits
garbage       files that can be removed, and their removal
transfer      items copied from one store to another
"""

from hlclip.maintenance.garbage import find_garbage, remove_garbage
from hlclip.maintenance.inventory import StoredFile
from hlclip.maintenance.references import Keep, named_items, workspace_items, workspace_manifests
from hlclip.maintenance.status import store_status
from hlclip.maintenance.transfer import Transfer, transfer_items
from hlclip.maintenance.verify import Defect, remove_damaged, verify_store
