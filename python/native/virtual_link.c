#ifdef __linux__
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#endif

#include "virtual_nodes.h"

#ifdef __linux__

#define CONTROL_SIZE CMSG_SPACE(sizeof(struct in_pktinfo))
#define SECOND_NS 1000000000u
#define SEND_WAIT_MS 100

typedef union control {
    size_t align;
    uint8_t bytes[CONTROL_SIZE];
} control;

uint64_t vp_virtual_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/* Which of its socket's addresses a datagram leaves from. */
static void set_source(struct msghdr *header, control *space, uint32_t address)
{
    memset(space, 0, sizeof(*space));
    header->msg_control = space;
    header->msg_controllen = CONTROL_SIZE;
    struct cmsghdr *item = CMSG_FIRSTHDR(header);
    item->cmsg_level = IPPROTO_IP;
    item->cmsg_type = IP_PKTINFO;
    item->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
    struct in_pktinfo info = {0};
    info.ipi_spec_dst.s_addr = htonl(address);
    memcpy(CMSG_DATA(item), &info, sizeof(info));
}

static int send_all(int socket, struct mmsghdr *messages, unsigned count)
{
    unsigned sent = 0;
    while (sent < count) {
        const int now_sent = sendmmsg(socket, messages + sent, count - sent, MSG_DONTWAIT);
        if (now_sent > 0) {
            sent += (unsigned)now_sent;
        } else if (errno == EAGAIN || errno == ENOBUFS) {
            struct pollfd full = {.fd = socket, .events = POLLOUT};
            (void)poll(&full, 1, SEND_WAIT_MS);
        } else if (errno == ECONNREFUSED) {
            /* Nobody listened to what was sent before; that says nothing of this one. */
            continue;
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

int vp_virtual_flush(vp_virtual *fleet)
{
    struct sockaddr_in gateway = {.sin_family = AF_INET,
                                  .sin_port = htons(fleet->gateway_port),
                                  .sin_addr = {.s_addr = htonl(fleet->gateway_address)}};
    struct mmsghdr messages[VP_VIRTUAL_BATCH];
    struct iovec data[VP_VIRTUAL_BATCH];
    control space[VP_VIRTUAL_BATCH];
    const uint32_t waiting = fleet->waiting;
    uint32_t at = 0;
    fleet->waiting = 0;
    while (at < waiting) {
        const uint16_t socket = fleet->nodes[fleet->out[at].node].socket;
        const uint64_t now = fleet->sent_ns != NULL ? vp_virtual_now() : 0;
        unsigned count = 0;
        while (at < waiting && fleet->nodes[fleet->out[at].node].socket == socket) {
            vp_virtual_sent *sent = &fleet->out[at];
            struct msghdr *header = &messages[count].msg_hdr;
            memset(header, 0, sizeof(*header));
            header->msg_name = &gateway;
            header->msg_namelen = sizeof(gateway);
            data[count] = (struct iovec){.iov_base = sent->data, .iov_len = sent->size};
            header->msg_iov = &data[count];
            header->msg_iovlen = 1;
            set_source(header, &space[count], fleet->nodes[sent->node].address);
            if (sent->is_first_prediction && fleet->sent_ns != NULL) {
                fleet->sent_ns[sent->request] = now;
            }
            fleet->nodes[sent->node].counts.sent++;
            count++;
            at++;
        }
        const int error = send_all(fleet->sockets[socket], messages, count);
        if (error != 0) {
            fleet->error = error;
        }
    }
    return fleet->error == 0 ? 0 : VP_VIRTUAL_SOCKET;
}

static void set_wake(vp_virtual *fleet, uint32_t at)
{
    fleet->wakes[at] = vp_virtual_wake(&fleet->nodes[at]);
    if (fleet->wakes[at] < fleet->wake_ns) {
        fleet->wake_ns = fleet->wakes[at];
    }
}

void vp_virtual_boot(vp_virtual *fleet, uint32_t at)
{
    vp_virtual_node *node = &fleet->nodes[at];
    fleet->now_ns = vp_virtual_now();
    node->started_ns = fleet->now_ns;
    node->hello_ns = fleet->now_ns;
    node->replay = (vp_replay){0};
    node->gateway_boot = 0;
    node->rejected_before = node->counts.rejected;
    vp_virtual_start_afresh(node);
    set_wake(fleet, at);
}

/* One datagram often comes to many nodes: its tag is computed once. @return 0 if it is wrong. */
static int verify(vp_virtual *fleet, const vp_virtual_node *node, const uint8_t *message,
                  uint32_t size, uint16_t addressee)
{
    const int to_all = addressee == VP_WIRE_ALL_NODES;
    const uint64_t key_name = to_all ? 0u : 1u + (uint64_t)(node - fleet->nodes);
    const uint8_t *key = to_all ? fleet->group_key : node->key;
    if (fleet->verified_size == size && fleet->verified_key == key_name &&
        memcmp(fleet->verified, message, size) == 0) {
        return 1;
    }
    if (vp_message_verify(message, size, fleet->authenticated ? key : NULL) < 0) {
        return 0;
    }
    vp_input chunk;
    memcpy(fleet->verified, message, size);
    fleet->verified_size = size;
    fleet->verified_key = key_name;
    fleet->verified_digest = 0;
    const size_t trailer = fleet->authenticated ? VP_WIRE_TAG_SIZE : VP_WIRE_CRC_SIZE;
    if ((message[0] & 15u) == VP_INPUT &&
        vp_input_unpack(message + VP_WIRE_HEADER_SIZE, size - VP_WIRE_HEADER_SIZE - trailer,
                        &chunk) == VP_WIRE_OK) {
        fleet->verified_digest = vp_virtual_chunk_digest(chunk.data, chunk.data_size, chunk.chunk);
    }
    return 1;
}

static void act(vp_virtual *fleet, vp_virtual_node *node, uint8_t type, const uint8_t *payload,
                size_t size)
{
    vp_input chunk;
    vp_trigger trigger;
    if (type == VP_DISCOVER) {
        vp_virtual_send_hello(fleet, node);
    } else if (type == VP_INPUT && vp_input_unpack(payload, size, &chunk) == VP_WIRE_OK) {
        vp_virtual_take_chunk(fleet, node, &chunk, fleet->verified_digest);
    } else if (type == VP_TRIGGER && vp_trigger_unpack(payload, size, &trigger) == VP_WIRE_OK) {
        vp_virtual_take_trigger(fleet, node, &trigger);
    }
}

static void receive(vp_virtual *fleet, uint32_t at, const uint8_t *message, uint32_t size)
{
    vp_virtual_node *node = &fleet->nodes[at];
    vp_wire_header header;
    if (!node->alive) {
        return;
    }
    node->counts.received++;
    if (vp_message_peek(message, size, &header) != VP_WIRE_OK || header.fleet != fleet->fleet ||
        (header.node != node->id && header.node != VP_WIRE_ALL_NODES) ||
        !verify(fleet, node, message, size, header.node) ||
        vp_replay_accept(&node->replay, header.counter) != VP_WIRE_OK) {
        node->counts.rejected++;
        return;
    }
    const uint64_t boot = header.counter >> VP_WIRE_SEQUENCE_BITS;
    if (boot > node->gateway_boot) {
        node->gateway_boot = boot;
        vp_virtual_start_afresh(node);
    }
    const size_t trailer = fleet->authenticated ? VP_WIRE_TAG_SIZE : VP_WIRE_CRC_SIZE;
    act(fleet, node, header.type, message + VP_WIRE_HEADER_SIZE,
        size - VP_WIRE_HEADER_SIZE - trailer);
    set_wake(fleet, at);
}

static void deliver(vp_virtual *fleet, uint32_t socket, uint32_t address, const uint8_t *message,
                    uint32_t size)
{
    if (address == fleet->group_address) {
        for (uint32_t at = 0; at < fleet->node_count; at++) {
            if (fleet->nodes[at].hello.flags & VP_HELLO_MULTICAST) {
                receive(fleet, at, message, size);
            }
        }
        return;
    }
    uint32_t low = fleet->first_nodes[socket];
    uint32_t high = fleet->first_nodes[socket + 1u];
    while (low < high) {
        const uint32_t middle = (low + high) / 2u;
        if (fleet->nodes[middle].address < address) {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    if (low < fleet->first_nodes[socket + 1u] && fleet->nodes[low].address == address) {
        receive(fleet, low, message, size);
    }
}

static uint32_t destination(struct msghdr *header)
{
    for (struct cmsghdr *item = CMSG_FIRSTHDR(header); item != NULL;
         item = CMSG_NXTHDR(header, item)) {
        if (item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(item), sizeof(info));
            return ntohl(info.ipi_addr.s_addr);
        }
    }
    return 0;
}

/* @return datagrams taken from one socket. */
static int drain(vp_virtual *fleet, uint32_t socket)
{
    struct mmsghdr messages[VP_VIRTUAL_BATCH];
    struct iovec data[VP_VIRTUAL_BATCH];
    control space[VP_VIRTUAL_BATCH];
    uint8_t bytes[VP_VIRTUAL_BATCH][VP_WIRE_MAX_MESSAGE + 1];
    memset(messages, 0, sizeof(messages));
    for (unsigned i = 0; i < VP_VIRTUAL_BATCH; i++) {
        data[i] = (struct iovec){.iov_base = bytes[i], .iov_len = sizeof(bytes[i])};
        messages[i].msg_hdr.msg_iov = &data[i];
        messages[i].msg_hdr.msg_iovlen = 1;
        messages[i].msg_hdr.msg_control = &space[i];
        messages[i].msg_hdr.msg_controllen = CONTROL_SIZE;
    }
    const int count =
        recvmmsg(fleet->sockets[socket], messages, VP_VIRTUAL_BATCH, MSG_DONTWAIT, NULL);
    if (count < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNREFUSED) {
            fleet->error = errno;
            return VP_VIRTUAL_SOCKET;
        }
        return 0;
    }
    fleet->now_ns = vp_virtual_now();
    for (int i = 0; i < count; i++) {
        deliver(fleet, socket, destination(&messages[i].msg_hdr), bytes[i], messages[i].msg_len);
    }
    return count;
}

static void do_all_due(vp_virtual *fleet)
{
    fleet->wake_ns = UINT64_MAX;
    for (uint32_t at = 0; at < fleet->node_count; at++) {
        if (fleet->wakes[at] <= fleet->now_ns && fleet->nodes[at].alive) {
            vp_virtual_do_due(fleet, &fleet->nodes[at]);
        }
        set_wake(fleet, at);
    }
}

static void wait_until(const vp_virtual *fleet, uint64_t when)
{
    struct pollfd ready[VP_VIRTUAL_BATCH];
    const uint64_t now = vp_virtual_now();
    const uint64_t left = when > now ? when - now : 0;
    const struct timespec timeout = {.tv_sec = (time_t)(left / SECOND_NS),
                                     .tv_nsec = (long)(left % SECOND_NS)};
    for (uint32_t i = 0; i < fleet->socket_count; i++) {
        ready[i] = (struct pollfd){.fd = fleet->sockets[i], .events = POLLIN};
    }
    (void)ppoll(ready, fleet->socket_count, &timeout, NULL);
}

int vp_virtual_run(vp_virtual *fleet, uint64_t until_ns)
{
    int total = 0;
    fleet->error = 0;
    fleet->wake_ns = 0;
    fleet->now_ns = vp_virtual_now();
    while (fleet->now_ns < until_ns) {
        int taken = 0;
        if (fleet->now_ns >= fleet->wake_ns) {
            do_all_due(fleet);
        }
        for (uint32_t socket = 0; socket < fleet->socket_count; socket++) {
            const int count = drain(fleet, socket);
            if (count < 0) {
                return count;
            }
            taken += count;
        }
        const int error = vp_virtual_flush(fleet);
        if (error != 0) {
            return error;
        }
        total += taken;
        if (taken == 0) {
            wait_until(fleet, fleet->wake_ns < until_ns ? fleet->wake_ns : until_ns);
        }
        fleet->now_ns = vp_virtual_now();
    }
    return total;
}

#else

uint64_t vp_virtual_now(void)
{
    return 0;
}

int vp_virtual_flush(vp_virtual *fleet)
{
    (void)fleet;
    return VP_VIRTUAL_UNSUPPORTED;
}

void vp_virtual_boot(vp_virtual *fleet, uint32_t node)
{
    (void)fleet;
    (void)node;
}

int vp_virtual_run(vp_virtual *fleet, uint64_t until_ns)
{
    (void)fleet;
    (void)until_ns;
    return VP_VIRTUAL_UNSUPPORTED;
}

#endif
