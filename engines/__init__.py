"""Running models. The registry of engines is `ENGINES` in pipeline/engine_choice.py; see docs/howto-engine.md."""
