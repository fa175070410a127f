# shellcheck shell=bash
# Sourced by prepare: what is slow to make, each made once and kept in the cache. Where no image registry is reached,
# package registries are: Debian's for the base, cargo's for the MongoDB server, Go's for Prometheus 3, Python's for ClickHouse 26.9.

BASE_PACKAGES=clickhouse-server,prometheus,python3
SECANTUS_VERSION=0.5.3-beta.196
PROMETHEUS3_VERSION=v0.305.0 # the Go module's number for Prometheus 3.5.0
THANOS_VERSION=v0.35.1
CHDB_PACKAGES='chdb-core==26.9.0 lz4==4.4.5 clickhouse-cityhash==1.0.2.6'
ZOOKEEPER_PACKAGES='openjdk-17-jre-headless libzookeeper-java libslf4j-java libnetty-java libdropwizard-metrics-java
  libsnappy-java libcommons-cli-java libcommons-io-java'
CHDB_PYTHON=3.11 # bookworm's, so the base image's

# cached NAME MAKER: sets ARTIFACT to the file in the cache; MAKER writes it to the path that it is given.
cached() {
  ARTIFACT=$CACHE/$1
  [ -e "$ARTIFACT" ] && return
  say "making $1"
  local work=$CACHE/work-$2
  rm -rf --one-file-system "$work"
  mkdir -p "$work"
  "$2" "$work" "$ARTIFACT.new"
  mv "$ARTIFACT.new" "$ARTIFACT"
  rm -rf --one-file-system "$work" # should a mount be left behind in it, its files stay
}

# The root file system of all local images, with their Debian packages: one layer, shared. Debian's own mirror is read
# from this machine's apt sources. Everything is downloaded here, so no container needs a network.
make_base() {
  local mirror proxy=
  is_root || die "the base image can be made by root only"
  install_packages debootstrap
  mirror=$(debian_mirror)
  if [ -z "$mirror" ]; then
    quietly apt-update apt-get update # a source's origin is known only after its index was read
    mirror=$(debian_mirror)
  fi
  [ -n "$mirror" ] || die "the local images are made of Debian bookworm's packages, and no apt source here has them"
  eval "$(apt-config shell proxy Acquire::http::Proxy)"
  http_proxy=${proxy:-${http_proxy:-}} quietly base \
    debootstrap --variant=minbase --include="$BASE_PACKAGES" bookworm "$1" "$mirror"
  # The web interfaces' scripts, documents and packages are most of the size, and no test reads them.
  rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/usr/share/{javascript,nodejs,doc,man,info,locale}
  rm -f "$CACHE"/base-*.tar.gz # of earlier recipes
  tar -C "$1" -c . | gzip -1 >"$2"
}

# shellcheck disable=SC2016
debian_mirror() {
  apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Codename: bookworm' 'Created-By: Packages' | head -n 1
}

# A MongoDB server over WiredTiger, mongod's own storage engine.
make_secantus() {
  install_packages libclang-dev clang cmake ninja-build
  # From the cache directory, so that no setting of this project's own cargo configuration applies.
  (cd "$1" && CARGO_TARGET_DIR=$1/target quietly secantus cargo install secantus-mdb --version "$SECANTUS_VERSION" \
    --ignore-rust-version --locked --root "$1")
  mv "$1/bin/secantusd-rs" "$2"
}

# Prometheus 3, without its service discoveries but files: they are most of what there is to download and compile.
make_prometheus3() {
  local module=github.com/prometheus/prometheus source
  have go || die "Prometheus 3 is built from source, which needs Go 1.23 or newer"
  (cd "$1" && quietly prometheus3-download go mod download -x "$module@$PROMETHEUS3_VERSION")
  source=$(cd "$1" && go list -m -f '{{.Dir}}' "$module@$PROMETHEUS3_VERSION")
  # A writable copy: as the main module its own replacements and checksums hold, and `go install` would refuse them.
  cp -r "$source" "$1/source"
  chmod -R u+w "$1/source"
  sed -i '/^\t_ "/d' "$1/source/plugins/plugins.go"
  # The version is what /api/v1/status/buildinfo tells.
  (cd "$1/source" && CGO_ENABLED=0 quietly prometheus3 go build -trimpath \
    -ldflags "-s -w -X github.com/prometheus/common/version.Version=$(cat VERSION)" -o "$2" ./cmd/prometheus)
}

# Thanos, for its query and its query-frontend; built as Prometheus 3 is.
make_thanos() {
  local module=github.com/thanos-io/thanos source
  have go || die "Thanos is built from source, which needs Go 1.23 or newer"
  (cd "$1" && quietly thanos-download go mod download -x "$module@$THANOS_VERSION")
  source=$(cd "$1" && go list -m -f '{{.Dir}}' "$module@$THANOS_VERSION")
  cp -r "$source" "$1/source"
  chmod -R u+w "$1/source"
  (cd "$1/source" && CGO_ENABLED=0 quietly thanos go build -trimpath -ldflags '-s -w' -o "$2" ./cmd/thanos)
}

# VictoriaMetrics' single server, of the same Debian as the base image, which has all that it links.
make_victoriametrics() {
  (cd "$1" && quietly victoriametrics apt-get download victoria-metrics)
  dpkg-deb -x "$1"/victoria-metrics_*.deb "$1/unpacked"
  cp "$1/unpacked/usr/bin/victoria-metrics" "$2"
}

# ClickHouse's engine as a Python package, with what its HTTP interface here needs to read the client's compression.
# What the package wants for data frames is left out: it is most of the download, and nothing here makes any.
make_chdb() {
  local wheel
  python3 -m pip --version >/dev/null 2>&1 || install_packages python3-pip
  # shellcheck disable=SC2086
  (cd "$1" && quietly chdb python3 -m pip download --no-deps --only-binary=:all: --python-version "$CHDB_PYTHON" \
    --dest wheels $CHDB_PACKAGES)
  mkdir "$1/packages"
  for wheel in "$1"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$1/packages"; done
  tar -C "$1/packages" -c . | gzip -1 >"$2"
}

# ZooKeeper and a Java for it, unpacked only: their scripts would want to configure a whole desktop's Java. Of the same
# Debian as the base image.
make_zookeeper() {
  local package
  mkdir "$1/packages" "$1/root"
  [ -n "$(debian_mirror)" ] || quietly apt-update apt-get update
  # shellcheck disable=SC2086
  (cd "$1/packages" && quietly zookeeper-download apt-get download $ZOOKEEPER_PACKAGES)
  for package in "$1"/packages/*.deb; do quietly zookeeper-unpack dpkg-deb -x "$package" "$1/root"; done
  rm -rf "$1"/root/usr/share/{doc,maven-repo,lintian}
  tar -C "$1/root" -c . | gzip -1 >"$2"
}
