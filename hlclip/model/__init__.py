"""CLIP cut in two, a frozen trunk and a tail that trains. The only wing that imports open_clip.

encoder         a loaded model: its trunk, its preprocessing, its fingerprint
tail            the last blocks of both towers, with norm and projection
blocks          attention blocks computed with only what the tail needs
tokens          what identifies stored tokens, and their precision
towers          the parts of a model's towers, and whether they can be cut
checkpoint      the trained part of a tail, to disk and back
loading         open_clip models, built and filled
weights         which weights file encoder.model and encoder.pretrained name
weight_files    weights files, checked without running anything in them
hub             files of the Hugging Face hub
device          where torch computes, in which precision
"""

from hlclip.model.checkpoint import load_tail, save_tail
from hlclip.model.device import DeviceError, autocast, pick_device
from hlclip.model.encoder import Encoder, load_encoder, untrained_encoder
from hlclip.model.hub import cached
from hlclip.model.tail import Tail, build_tail, pretrained_tail
from hlclip.model.tokens import cast_tokens, encoder_header, image_header, text_header
from hlclip.model.weight_files import EncoderError
from hlclip.model.weights import CONFIG_NAME, find_weights, weights_status
