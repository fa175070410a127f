# Both programs on nothing but what they load: no shell, no package manager, no user database to speak of.
#
# RUST_IMAGE: an image with cargo, a C compiler and CA certificates. For a release give it by digest, which no file here
# can know for you:  --build-arg RUST_IMAGE=docker.io/library/rust:1.95-bookworm@sha256:...
# (docker buildx imagetools inspect docker.io/library/rust:1.95-bookworm prints it, for all platforms at once; the release
# workflow does that.)
ARG RUST_IMAGE=docker.io/library/rust:1.95-bookworm

FROM ${RUST_IMAGE} AS dependencies
WORKDIR /build
ENV CARGO_TERM_COLOR=never
# Packed relocations make the programs smaller. Loaders before glibc 2.36 cannot read them: only this image, which has its
# own loader, is built so. Of functions that are alike one is kept, where Rust links by LLVM's linker.
ENV CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C link-arg=-Wl,-z,pack-relative-relocs -C link-arg=-Wl,--icf=all"
ENV CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C link-arg=-Wl,-z,pack-relative-relocs"
# Of SQLite only what the embedded store uses: no full-text search, R-trees, statistics of samples, tables of statistics,
# Soundex or extensions.
ENV LIBSQLITE3_FLAGS="-USQLITE_ENABLE_FTS3 -USQLITE_ENABLE_FTS3_PARENTHESIS -USQLITE_ENABLE_FTS5 -USQLITE_ENABLE_RTREE -USQLITE_ENABLE_STAT4 -USQLITE_ENABLE_DBSTAT_VTAB -USQLITE_SOUNDEX -USQLITE_ENABLE_LOAD_EXTENSION -DSQLITE_OMIT_LOAD_EXTENSION"
# The dependencies alone, so that this layer holds as long as Cargo.lock does.
COPY Cargo.toml Cargo.lock ./
# cargo asks for a file of every program, test and bench that Cargo.toml names: empty ones will do.
RUN for path in src/bin/kubecost-worker.rs $(sed -n 's/^path = "\(.*\)"/\1/p' Cargo.toml) \
      $(sed -n '/^\[\[bench/,/^$/s/^name = "\(.*\)"/benches\/\1.rs/p' Cargo.toml); do \
      mkdir -p "$(dirname "$path")" && echo 'fn main() {}' >"$path"; \
    done \
    && touch src/lib.rs \
    && cargo build --release --locked

FROM dependencies AS build
COPY . .
# What --version says: git is not in here.
ARG REVISION=unknown
ARG SOURCE_DATE_EPOCH=
# Cargo goes by times of files, and the empty ones above are younger than the real ones.
RUN find src -name '*.rs' -exec touch {} + \
    && KUBECOST_WORKER_COMMIT="$REVISION" SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" cargo build --release --locked --bins

# What the programs are made of, as CycloneDX: docker build --target sbom-file --output DIR .
FROM ${RUST_IMAGE} AS cyclonedx
ARG CYCLONEDX_VERSION=0.5.9
RUN cargo install cargo-cyclonedx --version ${CYCLONEDX_VERSION} --locked --root /opt/cyclonedx

FROM dependencies AS sbom
COPY --from=cyclonedx /opt/cyclonedx/bin/cargo-cyclonedx /usr/local/bin/
RUN cargo cyclonedx --format json --override-filename sbom.cdx

FROM scratch AS sbom-file
COPY --from=sbom /build/sbom.cdx.json /kubecost-worker.cdx.json

# The root file system: the programs, the libraries they name, CA certificates, two users.
FROM build AS root
RUN set -eu; mkdir -p /root-fs/usr/local/bin /root-fs/etc/ssl/certs /root-fs/usr/share/sbom /root-fs/tmp; chmod 1777 /root-fs/tmp; \
    cp target/release/kubecost-worker target/release/kubecost-allocation-exporter /root-fs/usr/local/bin/; \
    target/release/kubecost-worker man --out /root-fs/usr/local/share/man/man1; \
    for library in $(ldd /root-fs/usr/local/bin/* | grep -oE '/[^ ]+\.so[^ ]*' | sort -u); do \
      mkdir -p "/root-fs$(dirname "$library")"; cp -L "$library" "/root-fs$library"; \
    done; \
    cp -L /etc/ssl/certs/ca-certificates.crt /root-fs/etc/ssl/certs/; \
    echo 'hosts: files dns' >/root-fs/etc/nsswitch.conf; \
    printf 'root:x:0:0::/:/sbin/nologin\nnonroot:x:65532:65532::/tmp:/sbin/nologin\n' >/root-fs/etc/passwd; \
    printf 'root:x:0:\nnonroot:x:65532:\n' >/root-fs/etc/group
COPY --from=sbom /build/sbom.cdx.json /root-fs/usr/share/sbom/kubecost-worker.cdx.json

FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="kubecost-worker" \
      org.opencontainers.image.description="Brings Kubernetes costs from Kubecost and OpenCost into CloudTuner" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=root /root-fs/ /
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["/usr/local/bin/kubecost-worker"]
CMD ["--help"]
