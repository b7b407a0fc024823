"""CLIP cut in two: a frozen trunk, and a tail that trains. Only this wing imports open_clip.

encoder         a loaded model's trunk, and what identifies the tokens that it computes
precision       tokens as arrays of the store: float16, bfloat16 or float32
tail            the ends of both towers, their training and their checkpoint
temporal        a head that compares the clips of a video: convolutions over time
tower_tail      the end of one tower: last blocks, norms, pool, projection
blocks          attention blocks without the computations that the tail does not need
pools           average and attention pooling of an image's tokens
towers          the two towers of a model by one set of names, or why they are refused
borrowed        names that open_clip and timm do not export
timm_towers     timm's image towers, and all that is known of timm
device          the device that computes: precision, same bits, lack of memory
loading         open_clip models with their weights, or with random ones, on a device
catalogue       the models that open_clip knows by name
description     what an encoder is and costs, without its weights
weights         which weights file a model's name and `pretrained` mean
weight_files    weights files, checked without running anything in them
hub             files of the Hugging Face hub, cached or downloaded
"""

from hlclip.model.catalogue import CatalogueEntry, describe_model, find_models
from hlclip.model.description import describe_encoder
from hlclip.model.device import (
    DeviceError,
    autocast,
    deterministic,
    lacks_memory,
    pick_device,
    within_memory,
)
from hlclip.model.encoder import Encoder, encoder_header, image_header, text_header
from hlclip.model.hub import CONFIG_NAME, cached
from hlclip.model.loading import load_encoder, untrained_encoder
from hlclip.model.precision import cast_tokens, stored_array, stored_tokens
from hlclip.model.tail import Tail, build_tail, load_tail, pretrained_tail, save_tail
from hlclip.model.weight_files import EncoderError
from hlclip.model.weights import find_weights, weights_status
