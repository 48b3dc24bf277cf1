EXTRA_DIST += experiments/deps.sh
