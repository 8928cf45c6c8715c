# bige in a container: the package from its wheel, for an account without rights.
#
#   docker build -t bige .
#   docker run --rm -v "$PWD:/data" bige generate -n 20 --out squats
#   docker run --rm --network host -v "$PWD:/data" bige tune --no-browser     (Linux: the page answers this computer only)
#
# Where another account owns the mounted folder: docker run --user "$(id -u):$(id -g)" --env HOME=/tmp …
#
# There was no Docker where this file was written, so the image has not been built. Its steps were run by hand
# in an empty environment of the same Python, and tests/test_ways_in.py compares it with settings.ini.

FROM python:3.11-slim-bookworm AS wheel
WORKDIR /src
COPY setup.py settings.ini constraints.txt README.md LICENSE NOTICE ./
COPY bige bige
RUN pip install --no-cache-dir -c constraints.txt setuptools wheel \
    && pip wheel --no-cache-dir --no-deps --no-build-isolation -w /wheel .

FROM python:3.11-slim-bookworm
# OSMesa draws films without a display; --build-arg EXTRAS=… takes other extras of settings.ini.
ARG EXTRAS=pictures,tune,opensim
RUN apt-get update \
    && apt-get install -y --no-install-recommends libosmesa6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 bige
COPY --from=wheel /src/constraints.txt /wheel/*.whl /opt/bige/
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
    -c /opt/bige/constraints.txt "$(echo /opt/bige/*.whl)[$EXTRAS]"
USER bige
WORKDIR /data
ENV OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1
ENTRYPOINT ["bige"]
CMD ["--help"]
