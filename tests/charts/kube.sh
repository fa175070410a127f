# shellcheck shell=bash
# Sourced: a real Kubernetes control plane on loopback (etcd, API server, controller manager), built once from the Go modules.
# There is no kubelet, so Pods stay Pending; everything up to them is real.

KUBE_VERSION=1.34.2
KUBE_BIN=${KUBE_BIN:-$TOOLS/kubernetes-$KUBE_VERSION}
KUBE_PROGRAMS="kube-apiserver kube-controller-manager"

kube_built() {
  local program
  for program in $KUBE_PROGRAMS; do [ -x "$KUBE_BIN/$program" ] || return 1; done
}

# The module k8s.io/kubernetes replaces its libraries by folders of its own repository; a build from outside
# points them at the published modules of the same release instead.
kube_build() {
  local dir mod library program
  local version="-X k8s.io/component-base/version.gitVersion=v$KUBE_VERSION -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34"
  if kube_built; then return; fi
  command -v go >/dev/null || die "there is no control plane: its programs are built from Go modules, which needs go 1.25 or newer (or put $KUBE_PROGRAMS into KUBE_BIN)"
  say "building $KUBE_PROGRAMS $KUBE_VERSION (about 8 minutes, once)"
  dir=$(mktemp -d)
  pushd "$dir" >/dev/null || die "no $dir"
  go mod init local/kubernetes 2>/dev/null
  go mod download -json "k8s.io/kubernetes@v$KUBE_VERSION" >download.json
  mod=$(jq -r .GoMod download.json)
  go mod edit -require="k8s.io/kubernetes@v$KUBE_VERSION"
  for library in $(grep -oE 'k8s\.io/[a-z0-9-]+ => \./staging' "$mod" | cut -d' ' -f1 | sort -u); do
    go mod edit -replace="$library=$library@v0.${KUBE_VERSION#*.}"
  done
  printf 'package main\n\nimport (\n' >programs.go
  for program in $KUBE_PROGRAMS; do printf '\t_ "k8s.io/kubernetes/cmd/%s/app"\n' "$program" >>programs.go; done
  printf ')\n\nfunc main() {}\n' >>programs.go
  mkdir -p "$KUBE_BIN"
  export GOFLAGS=-mod=mod
  { go mod tidy -e || true; for program in $KUBE_PROGRAMS; do
      go build -buildvcs=false -ldflags "-s -w $version" -o "$KUBE_BIN/$program" "k8s.io/kubernetes/cmd/$program"
    done; } >"$KUBE_BIN/build.log" 2>&1 || { tail -n 20 "$KUBE_BIN/build.log" >&2; die "the control plane does not build"; }
  popd >/dev/null || die "no directory to go back to"
  rm -rf "$dir"
}

# kube_start DIR: sets KUBECONFIG; what it started stands in DIR/*.pid.
kube_start() {
  local dir=$1 etcd=${ETCD_PORT:-23790} api=${API_PORT:-26443}
  kube_build
  debian_program etcd etcd-server
  command -v kubectl >/dev/null || debian_program kubectl kubernetes-client
  mkdir -p "$dir"
  openssl genrsa -out "$dir/service-account.key" 2048 2>/dev/null
  local token
  token=$(openssl rand -hex 16)
  echo "$token,admin,admin,\"system:masters\"" >"$dir/tokens.csv"
  cat >"$dir/kubeconfig" <<C
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://127.0.0.1:$api", insecure-skip-tls-verify: true}}]
users: [{name: admin, user: {token: $token}}]
contexts: [{name: test, context: {cluster: test, user: admin}}]
current-context: test
C
  export KUBECONFIG=$dir/kubeconfig
  kube_process "$dir" etcd etcd --data-dir "$dir/etcd" --listen-client-urls "http://127.0.0.1:$etcd" \
    --advertise-client-urls "http://127.0.0.1:$etcd" --listen-peer-urls "http://127.0.0.1:$((etcd + 1))"
  kube_process "$dir" apiserver "$KUBE_BIN/kube-apiserver" --etcd-servers "http://127.0.0.1:$etcd" --secure-port "$api" \
    --bind-address 127.0.0.1 --cert-dir "$dir/certs" --service-account-issuer https://local --authorization-mode RBAC \
    --service-account-key-file "$dir/service-account.key" --service-account-signing-key-file "$dir/service-account.key" \
    --token-auth-file "$dir/tokens.csv" --service-cluster-ip-range 10.0.0.0/24
  wait_for 90 kubectl get --raw /readyz || { tail -n 20 "$dir/apiserver.log" >&2; die "the API server does not get ready"; }
  kube_process "$dir" controllers "$KUBE_BIN/kube-controller-manager" --kubeconfig "$KUBECONFIG" --leader-elect=false \
    --controllers '*,-nodeipam,-route,-cloud-node-lifecycle-controller,-service-lb-controller' \
    --service-account-private-key-file "$dir/service-account.key"
  wait_for 60 kubectl get serviceaccount default || { tail -n 20 "$dir/controllers.log" >&2; die "the controllers do not work"; }
}

kube_process() {
  local dir=$1 name=$2
  shift 2
  "$@" >"$dir/$name.log" 2>&1 </dev/null &
  echo $! >"$dir/$name.pid"
}

# The API server's shutdown needs etcd, so etcd goes last.
kube_stop() {
  local dir=$1 name pid
  for name in controllers apiserver etcd; do
    [ -f "$dir/$name.pid" ] || continue
    pid=$(cat "$dir/$name.pid")
    kill "$pid" 2>/dev/null || continue
    for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
  done
  rm -rf "$dir"
}
