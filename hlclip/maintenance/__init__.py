"""The store looked after: what it holds, whether it is whole, what may go.

inventory     the files that lie in a store
status        how much it holds, and how much of that is named
verify        every file read to its last byte
references    which items manifests name, in all of git's revisions
git           git's working trees and commits
garbage       what may go, and its removal
transfer      items from one store into another
"""

from hlclip.maintenance.garbage import Garbage, find_garbage, remove_garbage
from hlclip.maintenance.references import Keep, named_items, workspace_items, workspace_manifests
from hlclip.maintenance.status import store_status
from hlclip.maintenance.transfer import Transfer, transfer_items
from hlclip.maintenance.verify import Problem, audit, remove_damaged
