"""The judgement, in Rego; this module only says where it lies, in a checkout and in an installed wheel alike."""

from pathlib import Path

ROOT = Path(__file__).parent
