# Image of one cmkms replica: only the locked dependencies and the package, no pip, no compiler, no shell needed.
#
#   docker build -t cmkms .
#   docker run --rm -it -v cmkms:/var/lib/cmkms cmkms init --alone
#   docker run -d --name cmkms --restart=always --read-only --cap-drop=ALL --security-opt=no-new-privileges \
#       --ulimit core=0 --network=host -v cmkms:/var/lib/cmkms cmkms
#
# Three of them on one engine: configs/compose.yaml. Each replica has a volume of its own.
# The home must be a volume: the guard refuses the overlay file system of a container, which forgets.
# Where no engine runs, tests/packaging/dockerfile_steps.py runs the steps below one by one in a chroot.

# Pin it by digest where you build: --build-arg BASE_IMAGE=python@sha256:...
ARG BASE_IMAGE=python:3.13-slim-bookworm

FROM ${BASE_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN python3 -m venv /opt/build
RUN /opt/build/bin/python -m pip install --require-hashes --only-binary :all: -r requirements/build.txt
# Wheels, all by hash; pysyncobj has none, and gets one from its source by the setuptools of build.txt.
RUN /opt/build/bin/python -m pip wheel --require-hashes --only-binary :all: --no-binary pysyncobj --no-build-isolation \
    --wheel-dir /dist -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY cmkms cmkms
RUN /opt/build/bin/python -m hatchling build --target wheel --directory /dist
RUN python3 -m venv /opt/cmkms
RUN /opt/cmkms/bin/python -m pip install --no-index --find-links /dist cmkms
RUN /opt/cmkms/bin/python -m pip uninstall --yes setuptools pip
# The root is read-only when it runs: what Python would write beside its modules is written now.
RUN /opt/cmkms/bin/python -m compileall -q /opt/cmkms/lib
RUN /opt/cmkms/bin/cmkms version

FROM ${BASE_IMAGE}
# A number needs no entry in /etc/passwd, and only of a number can Kubernetes check runAsNonRoot.
RUN install -d -o 65532 -g 65532 -m 0700 /var/lib/cmkms
COPY --from=build /opt/cmkms /opt/cmkms
ENV PATH=/opt/cmkms/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/var/lib/cmkms \
    CMKMS_HOME=/var/lib/cmkms \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HEALTHCHECK_URL=http://127.0.0.1:8080/healthz
USER 65532:65532
WORKDIR /var/lib/cmkms
VOLUME ["/var/lib/cmkms"]
# 8080: health, status, metrics. 9430: the other replicas.
EXPOSE 8080 9430
STOPSIGNAL SIGTERM
# Says only that the event loop lives: whether the replica can sign is /status' and /metrics' to tell.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request; urllib.request.urlopen(os.environ['HEALTHCHECK_URL'], timeout=2)"]
ENTRYPOINT ["cmkms"]
CMD ["start"]
