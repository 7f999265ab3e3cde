#!/bin/sh
# Creates on the server that PREFECT_API_URL names what pools.yaml, prefect.yaml and automations.yaml describe. It may be
# run again, and should be after an upgrade: pools keep what was changed in them, deployments and automations are renewed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

# "pool TYPE LIMIT NAME" and "queue PRIORITY POOL NAME", one a line
described() {
    python - "$here/pools.yaml" <<'PYTHON'
import sys
import yaml

for pool in yaml.safe_load(open(sys.argv[1], encoding="utf-8"))["pools"]:
    print("pool", pool["type"], pool["concurrency_limit"], pool["name"])
    for queue, priority in pool["queues"].items():
        print("queue", priority, pool["name"], queue)
PYTHON
}

described | while read -r kind first second name; do
    case $kind in
    pool)
        if ! prefect work-pool inspect "$name" >/dev/null 2>&1; then
            prefect --no-prompt work-pool create "$name" --type "$first"
            prefect work-pool set-concurrency-limit "$name" "$second"
        fi
        ;;
    queue)
        if ! prefect work-queue inspect "$name" --pool "$second" >/dev/null 2>&1; then
            prefect --no-prompt work-queue create "$name" --pool "$second" --priority "$first"
        fi
        ;;
    esac
done

prefect --no-prompt deploy --all --prefect-file "$here/prefect.yaml"

prefect --no-prompt automation delete ssb-zombies >/dev/null 2>&1 || true
prefect --no-prompt automation create --from-file "$here/automations.yaml"
