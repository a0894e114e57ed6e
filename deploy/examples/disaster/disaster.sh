#!/usr/bin/env bash
# The host is gone. A fresh engine, the sink alone, one command: a compose project of three services with their volumes
# answers again.
#
#   disaster.sh          destroys the project on this machine's Docker Engine, and brings it back there
#   disaster.sh fresh    brings it back on another Docker Engine, started for that and with nothing on it; as root
#
# It needs docker, docker compose, curl and Go, asks no registry, and removes all that it makes. holdfast is the one on the PATH,
# else it is built. Where a name, port or network is taken, set COMPOSE_PROJECT_NAME, SHOP_PORT or SHOP_NET (its first three bytes).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

export COMPOSE_PROJECT_NAME=${COMPOSE_PROJECT_NAME:-shop} SHOP_PORT=${SHOP_PORT:-18080} SHOP_NET=${SHOP_NET:-10.213.7}
shop=$COMPOSE_PROJECT_NAME
export SHOP_IMAGE=holdfast-example/$shop
mine=label=com.docker.compose.project=$shop
work=$(mktemp -d /tmp/disaster.XXXXXX)
engine=$(realpath ../../engine/engine)
on_fresh=()    # runs a program in the fresh engine's network

step() { printf '\n== %s\n' "$*"; }

# show runs a command as one would type it.
show() {
  local word line='$'
  for word; do case $word in *' '*) line+=" '$word'" ;; *) line+=" $word" ;; esac; done
  echo "$line"
  "$@"
}

compose() { if command -v docker-compose >/dev/null; then docker-compose "$@"; else docker compose "$@"; fi; }

# The front service is there a moment after its container runs.
curl() { "${on_fresh[@]}" env curl --silent --show-error --fail --retry 20 --retry-delay 1 --retry-all-errors "$@"; }

containers() { docker ps --all --quiet --filter "$mine"; }
volumes() { docker volume ls --quiet --filter "$mine"; }
networks() { docker network ls --quiet --filter "$mine"; }
images() { { docker image ls --quiet "$SHOP_IMAGE"; docker image ls --quiet --filter "$mine"; } | sort -u; }

destroy() {
  containers | xargs -r docker rm --force
  volumes | xargs -r docker volume rm
  networks | xargs -r docker network rm
  images | xargs -r docker image rm --force
} >/dev/null

nothing() { [ -z "$(containers; volumes; networks; images)" ]; }

clean_up() {
  destroy
  [ ${#on_fresh[@]} -eq 0 ] || "$engine" stop "$work/engine"
  rm -rf "$work"
}

case ${1:-}:$# in :0 | fresh:1) ;; *) sed -n '2,9s/^# \{0,1\}//p' disaster.sh >&2; exit 2 ;; esac
nothing || { echo "disaster.sh: there is a compose project $shop already: set COMPOSE_PROJECT_NAME" >&2; exit 1; }
trap clean_up EXIT
mkdir "$work/sink"
export HOLDFAST_SINK=$work/sink CGO_ENABLED=0
command -v holdfast >/dev/null || { (cd ../../.. && go build -o "$work/holdfast" ./worker) && PATH=$work:$PATH; }
(cd shop && go build -trimpath -ldflags='-s -w' -o "$work/shop" .)

step 'A compose project: front asks app, app asks db, and what they keep is in two volumes'
tar --create --directory "$work" shop | docker import --change 'ENTRYPOINT ["/shop"]' - "$SHOP_IMAGE" >/dev/null
compose up --detach >"$work/up" 2>&1 || { cat "$work/up" >&2; exit 1; }
show curl --data 'order 4711: one ladder' "http://127.0.0.1:$SHOP_PORT"

step 'It is backed up: all of it, at one point in time'
export HOLDFAST_HOST_ID=old-host HOLDFAST_STATE_DIR=$work/old-host
show holdfast backup --label "com.docker.compose.project=$shop" --together --attached-volumes

step 'The host is gone: containers, volumes, network, images, and all that Holdfast knew. The sink is left'
destroy
rm -rf "$work/old-host"
nothing
if [ $# -eq 1 ]; then
  "$engine" start "$work/engine" >/dev/null
  export DOCKER_HOST=unix://$work/engine/docker.sock
  on_fresh=("$engine" exec "$work/engine" --)
fi
show docker version --format 'Docker Engine {{.Server.Version}}'
show docker ps --all --filter "$mine"

step 'One command on a new host'
export HOLDFAST_HOST_ID=new-host HOLDFAST_STATE_DIR=$work/new-host
show holdfast restore "$shop-db" "$shop-app" "$shop-front" --from old-host --networks create

step 'It answers, with what was in the volumes'
show curl "http://127.0.0.1:$SHOP_PORT"
show docker ps --filter "$mine" --format '{{.Names}}: {{.Status}} {{.Ports}}'
