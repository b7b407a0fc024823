"""Open reference implementation of HL-CLIP: CLIP fine-tuned for video highlight detection."""
