"""Names of the stages, and of the files and folders that a run consists of."""

CLASSIFIER, GENERATOR, BASELINE = "classifier", "generator", "baseline"  # stages; each is a folder below the run's

# of a run folder, finished or not
MANIFEST = "manifest.json"
PARTIAL = ".partial"  # suffix of a folder or file that is being written
PLAN = "plan.json"
CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"

# of a finished stage
CONFIG = "config.yaml"
RUN = "run.json"
BASE = "base.json"
ADAPTER = "adapter"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
LABELS = "labels.json"
HEADS = "heads.safetensors"
CALIBRATION = "calibration.json"
JOINT = "joint.json"  # only where labels are decoded together
SAMPLES = "samples.jsonl"

# of a checkpoint
STATE = "trainer_state.json"
RESUME_STATE = "clock.json"  # what the library does not save: seconds, pending evaluation, loss since the last log

# key of a generator's run.json: SHA-256 of the classifier's adapter under which it processes tickets
CLASSIFIER_PREFIX = "reader"
