# shellcheck shell=bash
# Sourced by pod, after the first runs: helm test, shards, wrong secrets, the exporter.

# `helm test` makes a Pod that walks the chain.
verify_pod() { k get pod kubecost-worker-verify -o 'jsonpath={.status.phase}' | grep -qx Pending; }
helm_test() { # helm_test CODE: of its Pod; helm's own goes with it
  local code=0 helm
  helm -n $NS test worker --timeout 90s >"$DIR/helm-test.log" 2>&1 & helm=$!
  wait_for 60 verify_pod || die "helm test makes no Pod"
  run_pod kubecost-worker-verify "$1"
  wait $helm || code=$?
  [ $((code > 0)) = $(($1 > 0)) ] || { cat "$DIR/helm-test.log"; die "helm test ended with $code"; }
}
helm_test 0
VERIFY=$DIR/kubecost-worker-verify.log
# hops STATE: each account's hops in that state, by their names.
hops() { awk -F '┆' -v state="$2" '{ gsub(/ /, "", $2); gsub(/ /, "", $3) } $3 == state { print $2 }' "$1" | sort | tr '\n' ' '; }
twice() { for hop in "$@"; do printf '%s\n%s\n' "$hop" "$hop"; done | sort | tr '\n' ' '; }
check "its Pod is still there for helm test --logs" k get pod kubecost-worker-verify
check "hops that no setting leads to say so" test "$(hops "$VERIFY" not-configured)" = "$(twice exporter target remote-write diproxy metroculus auto-import rest-filters rest-expenses rest-reader)"
check "all others are well" test "$(hops "$VERIFY" ok)" = "$(twice query-layer tenant lag mongodb account index documents clickhouse rows)"

# Shards: a third account, and a Pod for each index; each does the accounts of its own.
stores accounts "$MONGO" - --third
with_hook worker upgrade --set shards=2 --timeout 90s
by_hand kubecost-worker-shards
two_pods() { [ "$(pods_of kubecost-worker-shards | wc -w)" = 2 ]; }
wait_for 60 two_pods || die "an Indexed Job of 2 makes no 2 Pods"
for pod in $(pods_of kubecost-worker-shards); do
  run_pod "$pod" 0
  last "$DIR/$pod.log" >>"$DIR/shards"
done
check "each account was done by one shard" bash -c "[ \"\$(jq -r '.accounts[].id' '$DIR/shards' | sort | cut -c 1-8 | tr '\n' ' ')\" = '11111111 22222222 33333333 ' ]"
check "both had something to do" jq -se 'all(.accounts_done > 0)' "$DIR/shards"
check "the third account's costs are stored as well" as_expected --third
both_done() { [ "$(k get job kubecost-worker-shards -o 'jsonpath={.status.succeeded} {.status.completedIndexes}')" = "2 0,1" ]; }
check "the Indexed Job is complete" both_done

# Wrong secrets: exit code 3, the hop by name, and the Job fails.
secret() { k create secret generic kubecost-worker-secrets "$@" --dry-run=client -o yaml | k apply -f - >/dev/null 2>&1; }
worker upgrade --set shards=1,migrate.enabled=false,job.backoffLimit=0
secret "--from-literal=MONGO_URL=mongodb://worker:$MONGO_PASSWORD@mongo.stores.svc:27017/restapi" --from-literal=CLICKHOUSE_PASSWORD=wrong-password
by_hand kubecost-worker-clickhouse
run_job kubecost-worker-clickhouse 3
check "a wrong password for ClickHouse is named" summary "$LOG" '[.failure, .accounts[].failure] | map(select(. != null)) | length > 0 and all(.hop == "clickhouse" and .kind == "denied")'
failed() { [ "$(k get job "$1" -o 'jsonpath={.status.failed}')" = 1 ]; }
check "and its Job has failed" failed kubecost-worker-clickhouse
secret --from-literal=MONGO_URL=mongodb://worker:wrong-password@mongo.stores.svc:27017/restapi --from-literal=CLICKHOUSE_PASSWORD=$CLICKHOUSE_PASSWORD
by_hand kubecost-worker-mongodb
run_job kubecost-worker-mongodb 3
check "a wrong password for MongoDB is named" summary "$LOG" '.failure.hop == "mongodb" and .failure.kind == "denied"'
worker upgrade --set shards=1,migrate.enabled=false,secrets.keys.CLICKHOUSE_PASSWORD=NO_SUCH_KEY
by_hand kubecost-worker-key
run_job kubecost-worker-key 125
check "a key that is not there starts no Pod" grep -q "couldn't find key NO_SUCH_KEY in secret $NS/kubecost-worker-secrets" "$DIR/kubelet.err"

# The exporter's Deployment, over a recorded hour.
gateway=$(docker network inspect --format '{{(index .IPAM.Config 0).Gateway}}' "$NETWORK")
port=$(free_port)
python3 "$HERE/../charts/opencost.py" serve "$gateway" "$port" 2>"$DIR/opencost.log" &
echo $! >"$DIR/opencost.pid"
helm -n $NS install integration "$CHARTS/kubecost-integration" --values "$HERE/../charts/values/integration.yaml" \
  --set "image.repository=${IMAGE%:*},image.tag=${IMAGE##*:},costSource.kind=opencost,costSource.url=http://$gateway:$port" >"$DIR/helm.log"
exporters() { k get pods -l app.kubernetes.io/name=kubecost-allocation-exporter -o 'jsonpath={.items[*].metadata.name}'; }
has_exporter() { [ -n "$(exporters)" ]; }
wait_for 60 has_exporter || die "the Deployment makes no Pod"
pod=$(exporters)
run_pod "$pod" 0 --detach "$NETWORK-exporter"
EXPORTER=http://$(docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$NETWORK-exporter"):19090
probes() { # every probe of the Pod's spec
  local path
  k get pod "$pod" -o json | jq -r '.spec.containers[0] | .livenessProbe, .readinessProbe | .httpGet.path' | while read -r path; do curl -sf "$EXPORTER$path" >/dev/null || return 1; done
}
check "the exporter's Pod answers its probes" probes
exported() { curl -sf "$EXPORTER/metrics" | awk '$1 == "cloudtuner_kubecost_cluster_total_cost{tenant_id=\"00000000-0000-4000-8000-000000000001\",cluster=\"eu-1\"}" { print $2 }'; }
as_recorded() { python3 -c 'import sys; sys.exit(not sys.argv[1] or abs(float(sys.argv[1]) - float(sys.argv[2])) > 1e-9)' "$(exported)" "$(python3 "$HERE/../charts/opencost.py" costs | sed -n 's/^total //p')"; }
check "it shows the recorded hour's cost under the account" as_recorded
# The worker's chart may pass its address on, where there is one account: verify sees that it is another's, and says so.
secret "--from-literal=MONGO_URL=mongodb://worker:$MONGO_PASSWORD@mongo.stores.svc:27017/restapi" --from-literal=CLICKHOUSE_PASSWORD=$CLICKHOUSE_PASSWORD
worker upgrade --reset-values --set "migrate.enabled=false,config.EXPORTER_URL=http://$NETWORK-exporter:19090,config.ACCOUNTS=11111111-aaaa-4000-8000-000000000001"
helm_test 1
check "verify names the exporter of another account" grep -q 'exporter *┆ broken' "$VERIFY"
docker stop -t 10 "$NETWORK-exporter" >/dev/null
check "and ends in order when it is told to" test "$(docker inspect --format '{{.State.ExitCode}}' "$NETWORK-exporter")" = 0
