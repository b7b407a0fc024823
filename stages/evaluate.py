"""evaluate: saliency pooling, moments, official metrics, submission files."""

from pathlib import Path

from hlclip.pipeline.stage import run


def main() -> None:
    from hlclip.params import load_params
    from hlclip.pipeline.evaluate import evaluate_splits, scores_input

    params = load_params()
    evaluate_splits(
        scores_input(params),
        params.pool,
        params.moments,
        metrics=Path("metrics.json"),
        predictions=Path("outputs/predictions"),
        plot=Path("outputs/window.csv"),
        rules=Path("outputs/moments.csv"),
        examples=Path("outputs/saliency.csv"),
    )


if __name__ == "__main__":
    run(main)
