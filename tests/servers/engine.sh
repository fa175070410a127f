# shellcheck shell=bash
# Sourced by prepare: a docker engine that answers, and the Debian packages that the work here needs.

engine_answers() { timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

is_root() { [ "$(id -u)" = 0 ]; }

# An engine that works already is somebody's own and is left as it is.
ensure_engine() {
  if engine_answers; then return; fi
  [ -z "${DOCKER_HOST:-}" ] || die "docker: DOCKER_HOST is set, but no engine answers there"
  is_root || die "docker: no engine answers to this user, and only root can install and start one"
  install_packages docker.io iptables
  if ! engine_answers; then start_engine; fi # the package starts it itself where systemd runs
}

start_engine() {
  local log=$CACHE/dockerd.log pid
  # The engine outlives this script, so it takes no open file with it: an inherited lock would be held as long as it runs.
  # shellcheck disable=SC2016
  setsid bash -c 'for fd in /proc/$$/fd/*; do fd=${fd##*/}; [ "$fd" -le 2 ] || eval "exec $fd>&-"; done; exec dockerd' \
    >"$log" 2>&1 </dev/null &
  pid=$!
  for _ in $(seq 150); do
    if engine_answers; then say "docker: started dockerd (process $pid, log $log)"; return; fi
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.2
  done
  tail -n 20 "$log" >&2
  die "docker: dockerd does not answer (log: $log)"
}

# install_packages NAME...: only those that are missing.
install_packages() {
  local missing=() package
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if ! is_root || ! have apt-get; then die "these Debian packages (or their like) are needed, and only root can install them: ${missing[*]}"; fi
  say "installing ${missing[*]}"
  quietly apt-update apt-get update
  quietly apt-install env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}
