"""Campaigns: many programs in many processes, a corpus that stays, findings that are never lost."""
