"""CLIP cut in two: a frozen trunk, and a tail that trains. Only this wing imports open_clip.

encoder         a loaded model's trunk, and what identifies the tokens that it computes
tail            the last blocks of both towers, with norm and projection, and their checkpoint
blocks          attention blocks without the computations that the tail does not need
towers          the two towers of a model, and whether they can be cut
loading         open_clip models with their weights, or with random ones, on a device
weights         which weights file a model's name and `pretrained` mean
weight_files    weights files, checked without running anything in them
hub             files of the Hugging Face hub, cached or downloaded
"""

from hlclip.model.encoder import Encoder, cast_tokens, encoder_header, image_header, text_header
from hlclip.model.hub import CONFIG_NAME, cached
from hlclip.model.loading import (
    DeviceError,
    load_encoder,
    pick_device,
    untrained_encoder,
    within_memory,
)
from hlclip.model.tail import Tail, autocast, build_tail, load_tail, pretrained_tail, save_tail
from hlclip.model.weight_files import EncoderError
from hlclip.model.weights import find_weights, weights_status
