"""The six stages, one module a word, each run by the file of its name in `stages/`.

    index         annotations and videos, validated
    frames        one RGB frame per clip of every video
    activations   the frozen trunk's tokens of every video and query
    train         the tail, fine-tuned from the cache
    score         cosines, zero-shot and fine-tuned
    evaluate      saliency pooling, official metrics, submission files
    choices       what evaluate compares and chooses on val
    figures       figures as figures.json and the log have them
    calibration   maps from scores to ratings, for evaluate
    examples      saliency curves of three queries, for a plot
    inputs        what stages read from `outputs/`, all of one run
    stage         how a stage starts and ends
    missing       how many videos may be missing, of all and of each split
    encode        frames and activations without stages, all or one shard
    shards        what the store lacks of them
    cluster       the same on a Ray cluster: batches in flight
    cluster_connection  to the cluster, one run at a time
    cluster_workers  its tasks that decode, and its actors that encode

This face exports nothing: a stage imports its own module by name, and no other wing imports any.
"""
