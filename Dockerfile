# syntax=docker/dockerfile:1
# docker build -t hlclip .                         torch for the CPU
# docker build -t hlclip --build-arg TORCH=cuda .  torch with CUDA, for `docker run --gpus all`
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS build
WORKDIR /build
COPY LICENSE README.md constraints.txt dvc.yaml pyproject.toml .dvcignore .gitignore ./
COPY .dvc/config .dvc/.gitignore .dvc/
COPY .dvc/plots .dvc/plots
COPY presets presets
COPY stages stages
COPY hlclip hlclip
# PyPI's torch for Linux brings CUDA; the one for the CPU is smaller by several gigabytes.
ARG TORCH=cpu
RUN case "$TORCH" in \
        cpu) export PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu ;; \
        cuda) ;; \
        *) echo "TORCH is $TORCH, expected cpu or cuda" >&2; exit 1 ;; \
    esac \
    && python -m venv /opt/hlclip \
    && /opt/hlclip/bin/pip install --no-cache-dir -c constraints.txt ".[demo,s3,tokenizers]"

FROM python:${PYTHON}-slim-bookworm
# git for `hlclip init` and DVC; ffmpeg comes with imageio-ffmpeg.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 hlclip \
    && install --directory --mode 1777 /cache /project
COPY --from=build /opt/hlclip /opt/hlclip
# Weights and features of own videos; writable for any user, as `docker run --user` needs it.
ENV PATH=/opt/hlclip/bin:$PATH \
    XDG_CACHE_HOME=/cache \
    HF_HOME=/cache/huggingface \
    MPLCONFIGDIR=/cache/matplotlib
USER 1000
WORKDIR /project
ENTRYPOINT ["hlclip"]
CMD ["--help"]
