# shellcheck shell=bash
# Sourced by prepare: which image a server role gets, and how a local one is made.

LABEL=kubecost-worker-test.recipe
BASE_IMAGE=kubecost-worker-test/base:bookworm
CLICKHOUSE_LOCAL=kubecost-worker-test/clickhouse:18.16
CLICKHOUSE_NEWEST_LOCAL=kubecost-worker-test/clickhouse:26.9
CLICKHOUSE_CLUSTER_LOCAL=kubecost-worker-test/clickhouse-cluster:18.16
PROMETHEUS_LOCAL=kubecost-worker-test/prometheus:2.42
PULL_ANSWER_SECONDS=20 # for the registry's first word
PULL_SECONDS=900       # for the whole image, once it has answered
REGISTRY_SILENT=       # set by the first failure, so that the other images of this run do not wait for it again

# choose_image ROLE ADDRESS_VARIABLE OFFICIAL_IMAGE [LOCAL_IMAGE]: sets CHOSEN, empty where an address is given, and
# where there is neither the official image nor a local one: then IS_MISSING is set, and it is the caller's to say so.
choose_image() {
  CHOSEN='' IS_MISSING=''
  if [ -n "${!2:-}" ]; then
    say "$1: the server of $2" # the address may hold a password, so it is not shown
    return
  fi
  ensure_engine
  if image_exists "$3"; then
    CHOSEN=$3
    say "$1: official image $CHOSEN"
  elif pull "$3"; then
    CHOSEN=$3
    say "$1: official image $CHOSEN (pulled)"
  elif [ -z "${4:-}" ]; then
    IS_MISSING=yes
  else
    ensure_local_image "$1" "$4"
    CHOSEN=$4
    say "$1: local image $CHOSEN ($3 cannot be had: $PULL_FAILURE)"
  fi
}

image_exists() { docker image inspect "$1" >/dev/null 2>&1; }

# A registry that does not answer must cost seconds, a slow download may take its time: the first line of
# `docker pull` comes with the registry's answer.
pull() {
  local log=$CACHE/pull.log pid
  [ -z "$REGISTRY_SILENT" ] || return 1
  timeout "$PULL_SECONDS" docker pull "$1" >"$log" 2>&1 </dev/null &
  pid=$!
  for _ in $(seq $((PULL_ANSWER_SECONDS * 20))); do
    if [ -s "$log" ] || ! kill -0 "$pid" 2>/dev/null; then break; fi
    sleep 0.05
  done
  [ -s "$log" ] || kill "$pid" 2>/dev/null || true
  if wait "$pid"; then return 0; fi
  PULL_FAILURE=$(tail -n 1 "$log")
  PULL_FAILURE=${PULL_FAILURE#Error response from daemon: }
  PULL_FAILURE=${PULL_FAILURE:-no answer in $PULL_ANSWER_SECONDS seconds}
  grep -qiE 'manifest unknown|not found|access denied' "$log" || REGISTRY_SILENT=yes
  return 1
}

# ensure_local_image ROLE TAG: built where it is missing, or where it was made from other files than the present ones.
ensure_local_image() {
  local recipe
  recipe=$(recipe "$1")
  if [ "$(label_of "$2")" = "$recipe" ]; then return; fi
  ARTIFACT=
  case $1 in
    mongodb) cached "secantusd-rs-$SECANTUS_VERSION" make_secantus ;;
    prometheus3)
      ensure_local_image prometheus "$PROMETHEUS_LOCAL"
      cached "prometheus-$PROMETHEUS3_VERSION" make_prometheus3
      ;;
    thanos) cached "thanos-$THANOS_VERSION" make_thanos ;;
    victoriametrics) cached victoriametrics-bookworm make_victoriametrics ;;
    clickhouse-cluster)
      ensure_local_image clickhouse "$CLICKHOUSE_LOCAL"
      cached "zookeeper-$(printf '%s' "$ZOOKEEPER_PACKAGES" | sha256sum | cut -c 1-12).tar.gz" make_zookeeper
      ;;
    clickhouse-newest) cached "chdb-$(printf '%s' "$CHDB_PACKAGES $CHDB_PYTHON" | sha256sum | cut -c 1-12).tar.gz" make_chdb ;;
  esac
  build "$1" "$2" "$recipe" "$ARTIFACT"
}

# build ROLE TAG RECIPE PROGRAM: the role's directory is the context; PROGRAM (or an archive), if any, is `server` in it.
build() {
  local context=$CACHE/context program=$4
  ensure_base # sets ARTIFACT too
  say "building $2"
  rm -rf "$context"
  cp -r "$HERE/$1" "$context"
  [ -z "$program" ] || install -m 755 "$program" "$context/server"
  quietly build docker build --force-rm --label "$LABEL=$3" --tag "$2" "$context"
  rm -rf "$context"
  docker image prune --force --filter "label=$LABEL" >/dev/null # the image that had this name before
}

ensure_base() {
  local recipe
  recipe=$(base_recipe)
  if [ "$(label_of "$BASE_IMAGE")" = "$recipe" ]; then return; fi
  cached "base-$recipe.tar.gz" make_base
  quietly import docker import --change "LABEL $LABEL=$recipe" --change 'ENV TZ=UTC' "$ARTIFACT" "$BASE_IMAGE"
}

# A recipe is a digest of all that an image is made from, kept in its label.
base_recipe() { { declare -f make_base; echo "$BASE_PACKAGES"; } | sha256sum | cut -c 1-12; }

# recipe ROLE: Prometheus 3 is made on top of the image of Prometheus 2, the cluster on top of ClickHouse's.
recipe() {
  {
    base_recipe
    case $1 in
      mongodb) echo "$SECANTUS_VERSION" ;;
      prometheus3) echo "$PROMETHEUS3_VERSION"; cat "$HERE"/prometheus/* ;;
      thanos) echo "$THANOS_VERSION" ;;
      clickhouse-cluster) echo "$ZOOKEEPER_PACKAGES"; cat "$HERE"/clickhouse/* ;;
      clickhouse-newest) echo "$CHDB_PACKAGES $CHDB_PYTHON" ;;
    esac
    cat "$HERE/$1"/*
  } | sha256sum | cut -c 1-12
}

label_of() { docker image inspect --format "{{index .Config.Labels \"$LABEL\"}}" "$1" 2>/dev/null || true; }
