"""A project: a folder with parameters and data of your own, which runs the installed stages.

new         make a project, whole or not at all
content     the files of a project
shipped     files of the repository that an installed hlclip carries
__main__    `python -m hlclip.project STAGE`: a stage, run in a project
"""

from hlclip.project.new import NewProject, make_project
from hlclip.project.shipped import presets, shipped
