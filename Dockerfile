# k6-sweep's image. Build it from the checkout, for one platform or several: docker buildx build --platform linux/amd64,linux/arm64 .
#
# What the image adds to its base, uncompressed (source + bytecode): redis 2.6 + 2.9 MB, hiredis 0.9 MB, psutil 0.5 + 0.4 MB,
# kubernetes and its packages 54 MB, k6-sweep 0.4 + 0.7 MB, the standard library's bytecode 5.2 MB; and for `serve` and metrics 10 MB.
# All packages: 82 MB, 17 MB compressed. With the asyncio client of kubernetes, which nothing here loads, and with the bytecode of its
# models and of its methods for each kind of object, it would be 163 MB and 25 MB.
# An empty EXTRAS= leaves out the packages of `serve` and metrics; EXTRAS=api,aws adds the login by IAM, 23.4 MB: botocore.
#
# All packages come from locks/, with their hashes: `make lock` renews them. Two builds with the same SOURCE_DATE_EPOCH and the same base
# have the same layers, if the builder also sets the files' times (buildah bud --timestamp, docker buildx with rewrite-timestamp=true). The
# files of packages get that time here already: bytecode that an import writes contains it.
ARG BASE=python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

FROM ${BASE} AS build
ARG EXTRAS="api" SOURCE_DATE_EPOCH
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY locks locks
RUN pip install --require-hashes --no-compile --prefix /install --requirement "locks/image${EXTRAS:+-$EXTRAS}.txt" \
 && pip install --require-hashes --requirement locks/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY sidecar sidecar
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && pip install --no-index --no-deps --no-compile --prefix /install /wheels/*.whl \
 && rm -r /install/lib/python3*/site-packages/kubernetes/aio \
 && python -m compileall -q --invalidation-mode unchecked-hash -x 'kubernetes/client/(api|models)/' -s /install -p /usr/local /install/lib \
 && find /install -exec touch --no-dereference --date "@${SOURCE_DATE_EPOCH:-0}" {} +

FROM ${BASE}
ARG VERSION="" REVISION="" SOURCE_DATE_EPOCH
LABEL org.opencontainers.image.title="k6-sweep" \
      org.opencontainers.image.description="Sweeps a k6 load test's keys from the whole Redis Cluster once the test has ended" \
      org.opencontainers.image.source="https://k6-sweep.example" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /install /usr/local
# Python cannot write bytecode to a read-only root, and the base has no bytecode of the standard library. So these imports write the
# bytecode that k6-sweep needs. Without it, the start costs 0.3 s of CPU instead of 0.1, and from k6's end to the sweep 0.35 s pass
# instead of 0.07.
RUN pip uninstall --yes --quiet --root-user-action ignore pip \
 && python -c "import k6_sweep.cli, k6_sweep.commands.watch, k6_sweep.commands.run, k6_sweep.watch.process, k6_sweep.watch.kubernetes, k6_sweep.sweep.sweeper, k6_sweep.sweep.preflight" \
 && python -c "import importlib.util as found; found.find_spec('fastapi') and (__import__('k6_sweep.api.app'), __import__('k6_sweep.api.server'))"
ENV PYTHONDONTWRITEBYTECODE=1
# A user that neither k6 nor another container has.
USER 64001:64001
ENTRYPOINT ["k6-sweep"]
CMD ["watch"]
