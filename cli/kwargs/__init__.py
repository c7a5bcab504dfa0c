"""``kwargs``: the files in S3 that give one flow or deployment other resources."""
