"""evaluate: saliency pooling, moments, official metrics, submission files, calibration."""

from pathlib import Path

from hlclip.pipeline.stage import run


def main() -> None:
    from hlclip.formats import read_origin
    from hlclip.params import load_params
    from hlclip.pipeline.evaluate import SCORES, evaluate_splits, scores_input

    params = load_params()
    evaluate_splits(
        scores_input(params),
        params.pool,
        params.moments,
        metrics=Path("metrics.json"),
        outputs=Path("outputs"),
        origin=read_origin(SCORES),
    )


if __name__ == "__main__":
    run(main)
