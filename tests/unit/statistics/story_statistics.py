"""What the statistics make of a story."""

from __future__ import annotations

from claire.statistics import Statistics, StatisticsCollector
from tests.unit.writer.journal_story import Story

__all__ = ["of"]


def of(story: Story) -> Statistics:
    """Return the statistics of a story."""
    collector = StatisticsCollector()
    for entry in story.entries:
        collector.observe(entry)
    return collector.result()
