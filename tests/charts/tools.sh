# shellcheck shell=bash
# Sourced by the checks here: the programs they use, made once and kept.

TOOLS=${XDG_CACHE_HOME:-$HOME/.cache}/kubecost-worker-tests/tools
HELM_VERSION=v3.22.0
KUBECONFORM_VERSION=v0.8.0
ALERTMANAGER_VERSION=v0.28.1
ACTIONLINT_VERSION=v1.7.12

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# go_tool NAME MODULE VERSION: sets PATH so that NAME is exactly that version.
go_tool() {
  local dir=$TOOLS/$1-$3
  if [ ! -x "$dir/$1" ]; then
    say "building $1 $3"
    command -v go >/dev/null || die "go is needed to build $1"
    mkdir -p "$dir"
    GOFLAGS=-buildvcs=false GOBIN=$dir go install "$2@$3" >"$dir/build.log" 2>&1 || { tail -n 20 "$dir/build.log" >&2; die "$1 does not build"; }
  fi
  PATH=$dir:$PATH
}

need_helm() { go_tool helm helm.sh/helm/v3/cmd/helm "$HELM_VERSION"; }
need_actionlint() { go_tool actionlint github.com/rhysd/actionlint/cmd/actionlint "$ACTIONLINT_VERSION"; }
need_kubeconform() { go_tool kubeconform github.com/yannh/kubeconform/cmd/kubeconform "$KUBECONFORM_VERSION"; }

# Built, for Debian's looks for its templates where only an installed package has them.
need_alertmanager() { go_tool alertmanager github.com/prometheus/alertmanager/cmd/alertmanager "$ALERTMANAGER_VERSION"; }

# promtool and prometheus: those of the machine, else Debian's.
need_prometheus() {
  debian_program promtool prometheus
  debian_program prometheus prometheus
}

# Sets PROMETHEUS to Prometheus 3, as the integration tests have it (built from its Go module, about 3 minutes, once):
# Debian's 2.42 sends no headers of remote_write.
need_prometheus3() {
  PROMETHEUS=$(dirname "$TOOLS")/prometheus-v0.305.0
  [ -x "$PROMETHEUS" ] && return
  . "$HERE/../servers/artifacts.sh"
  CACHE=$(dirname "$TOOLS")
  have() { command -v "$1" >/dev/null 2>&1; }
  quietly() { local log=$CACHE/$1.log; shift; "$@" >"$log" 2>&1 </dev/null || { tail -n 20 "$log" >&2; die "failed: $*"; }; }
  cached "$(basename "$PROMETHEUS")" make_prometheus3
}

# debian_program NAME PACKAGE: a program of Debian's, unpacked and not installed, so that no service starts.
debian_program() {
  command -v "$1" >/dev/null && return
  local dir=$TOOLS/$1-debian
  if [ ! -x "$dir/usr/bin/$1" ]; then
    say "fetching $1"
    mkdir -p "$dir"
    (cd "$dir" && { apt-get download -qq "$2" 2>/dev/null || { apt-get update -qq && apt-get download -qq "$2"; }; } >/dev/null &&
      dpkg -x "$2"_*.deb . && rm -f "$2"_*.deb) || die "the package $2 cannot be had"
  fi
  PATH=$dir/usr/bin:$PATH
}

# need_python PACKAGE==VERSION MODULE: sets PYTHON to one with that module: this machine's, else one beside the tools.
need_python() {
  PYTHON=python3
  if python3 -c "import $2" 2>/dev/null; then return; fi
  PYTHON=$TOOLS/python/bin/python3
  if "$PYTHON" -c "import $2" 2>/dev/null; then return; fi
  { [ -x "$PYTHON" ] || python3 -m venv "$TOOLS/python"; } && "$TOOLS/python/bin/pip" install -q "$1" || die "python3 with $1 is needed"
}
need_python_yaml() { need_python PyYAML==6.0.3 yaml; }

# chart NAME OPTION...: its manifests as of a Kubernetes that a user may have.
chart() {
  local name=$1
  shift
  helm template test "$HERE/../../charts/$name" --namespace costs --kube-version "${CHART_KUBE_VERSION:-1.34.2}" "$@"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# start_prometheus DIR NAME [OPTION...]: one on loopback over DIR/NAME, with DIR/NAME.yml if there; sets NAME_URL.
start_prometheus() {
  local dir=$1 name=$2 port url
  shift 2
  port=$(free_port)
  url=http://127.0.0.1:$port
  [ -f "$dir/$name.yml" ] || echo '{}' >"$dir/$name.yml"
  "${PROMETHEUS:-prometheus}" --config.file="$dir/$name.yml" --storage.tsdb.path="$dir/$name" --storage.tsdb.retention.time=20y \
    --web.listen-address="127.0.0.1:$port" "$@" >"$dir/$name.log" 2>&1 &
  echo $! >"$dir/$name.pid"
  for _ in $(seq 100); do
    if curl -sf "$url/-/ready" >/dev/null; then printf -v "${name^^}_URL" %s "$url"; return; fi
    sleep 0.2
  done
  tail -n 20 "$dir/$name.log" >&2
  die "prometheus does not get ready"
}

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.3
  done
}
