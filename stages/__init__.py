"""The pipeline's stages: `python -m stages.<stage>`."""
