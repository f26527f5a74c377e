"""Training: conversations become an adapter, a merged model, held-out figures and a chat.

Importing this package or `train.settings` loads neither torch nor transformers.
"""

import logging
import os

# Before anything loads OpenMP, which reads it once. Threads that wait for one another by spinning
# take the core from the one they wait for as soon as anything else runs: two small trainings at
# once on two cores fell from 3,500 tokens/s to 40 each. A thousand spins do when the rest is calm.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# bitsandbytes reports on import that an optional kernel package is absent, before any of our
# functions runs; the last line of a log is what a user sees when a process dies.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
