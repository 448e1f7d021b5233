"""Candidates, scoring, re-ranking: `python scripts/pipeline.py run=RUN_DIR rerank=mmr`; see docs/reranking.md."""

from jaxrec.config import pipeline

if __name__ == "__main__":
    pipeline()
