# shellcheck shell=bash
# Sourced by the checks here: the programs they use, made once and kept.

TOOLS=${XDG_CACHE_HOME:-$HOME/.cache}/kubecost-worker-tests/tools
HELM_VERSION=v3.22.0
KUBECONFORM_VERSION=v0.8.0

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
need_kubeconform() { go_tool kubeconform github.com/yannh/kubeconform/cmd/kubeconform "$KUBECONFORM_VERSION"; }

# promtool and prometheus: those of the machine, else Debian's package, whose service is not started.
need_prometheus() {
  command -v promtool >/dev/null && command -v prometheus >/dev/null && return
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || die "promtool and prometheus are needed"
  say "installing prometheus"
  apt-get update -qq >/dev/null
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus >/dev/null
  rm -f /usr/sbin/policy-rc.d
}
