"""Training: conversations become an adapter, a merged model, held-out figures and a chat.

Importing this package or `train.settings` loads neither torch nor transformers.
"""

import os

# Before anything loads OpenMP, which reads it once. Its threads otherwise spin while they wait:
# beside one other busy process on two cores a training step took 1.5 s instead of 0.04 s.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import os

# OpenMP threads that wait for one another by spinning take the core from the one they wait for
# as soon as anything else runs: two small trainings at once on two cores fell from 3,500 tokens/s
# to 40 each. A thousand spins are enough where nothing else runs. Read when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
