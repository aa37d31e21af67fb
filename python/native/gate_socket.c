#ifdef __linux__
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#endif
#include <string.h>

#include "vp_gate.h"

/* FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/. */
static uint32_t hash(const uint8_t address[16], uint16_t port, uint32_t scope)
{
    uint32_t value = 2166136261u ^ scope;
    for (unsigned i = 0; i < 16u; i++) {
        value = (value ^ address[i]) * 16777619u;
    }
    value = (value ^ (port & 255u)) * 16777619u;
    value = (value ^ (uint32_t)(port >> 8)) * 16777619u;
    return value ^ (value >> 15);
}

uint32_t vp_gate_find(const vp_gate *gate, const uint8_t address[16], uint16_t port, uint32_t scope)
{
    uint32_t place = hash(address, port, scope) & gate->place_mask;
    for (uint32_t tried = 0; tried <= gate->place_mask; tried++) {
        const uint16_t slot = gate->places[place];
        if (slot == VP_GATE_NOBODY) {
            break;
        }
        const vp_gate_node *node = &gate->nodes[slot];
        if (node->port == port && node->scope == scope &&
            memcmp(node->address, address, sizeof(node->address)) == 0) {
            return slot;
        }
        place = (place + 1u) & gate->place_mask;
    }
    return VP_GATE_NOBODY;
}

void vp_gate_index(vp_gate *gate)
{
    for (uint32_t slot = 0; slot < gate->size; slot++) {
        const vp_gate_node *node = &gate->nodes[slot];
        if (node->family == 0) {
            continue;
        }
        uint32_t place = hash(node->address, node->port, node->scope) & gate->place_mask;
        while (gate->places[place] != VP_GATE_NOBODY) {
            place = (place + 1u) & gate->place_mask;
        }
        gate->places[place] = (uint16_t)slot;
    }
}

#ifdef __linux__

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255};

static void take(vp_gate *gate, const struct sockaddr_in6 *from, const uint8_t *message,
                 uint32_t size, double now)
{
    uint8_t address[16];
    uint16_t port = ntohs(from->sin6_port);
    uint32_t scope = from->sin6_scope_id;
    if (from->sin6_family == AF_INET6) {
        memcpy(address, &from->sin6_addr, sizeof(address));
    } else {
        struct sockaddr_in from4;
        memcpy(&from4, from, sizeof(from4));
        memcpy(address, mapped, sizeof(mapped));
        memcpy(address + sizeof(mapped), &from4.sin_addr, 4);
        port = ntohs(from4.sin_port);
        scope = 0;
    }
    const uint32_t slot = vp_gate_find(gate, address, port, scope);
    if (!vp_gate_stranger(gate, slot, message, size, address, port, scope)) {
        (void)vp_gate_take(gate, slot, message, size, size, now);
    }
}

int vp_gate_receive(vp_gate *gate, int socket, double now)
{
    struct mmsghdr headers[VP_GATE_BATCH];
    struct iovec parts[VP_GATE_BATCH];
    struct sockaddr_in6 from[VP_GATE_BATCH];

    vp_gate_clear(gate);
    memset(headers, 0, sizeof(headers));
    for (unsigned i = 0; i < VP_GATE_BATCH; i++) {
        parts[i].iov_base = gate->messages + (size_t)i * VP_GATE_ROOM;
        parts[i].iov_len = VP_GATE_ROOM;
        headers[i].msg_hdr.msg_iov = &parts[i];
        headers[i].msg_hdr.msg_iovlen = 1;
        headers[i].msg_hdr.msg_name = &from[i];
        headers[i].msg_hdr.msg_namelen = sizeof(from[i]);
    }
    const int received = recvmmsg(socket, headers, VP_GATE_BATCH, MSG_DONTWAIT | MSG_TRUNC, NULL);
    if (received < 0) {
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? VP_GATE_BLOCKED
                                                                       : VP_GATE_FAILED;
    }
    for (int i = 0; i < received; i++) {
        /* With MSG_TRUNC the length is the datagram's own; a message longer than its room is none,
         * however much of it is there. */
        take(gate, &from[i], parts[i].iov_base, headers[i].msg_len, now);
    }
    return received;
}

static socklen_t receiver(const vp_gate_node *node, struct sockaddr_in6 *to)
{
    memset(to, 0, sizeof(*to));
    if (node->family == 6) {
        to->sin6_family = AF_INET6;
        to->sin6_port = htons(node->port);
        to->sin6_scope_id = node->scope;
        memcpy(&to->sin6_addr, node->address, 16);
        return sizeof(*to);
    }
    struct sockaddr_in to4;
    memset(&to4, 0, sizeof(to4));
    to4.sin_family = AF_INET;
    to4.sin_port = htons(node->port);
    memcpy(&to4.sin_addr, node->address + sizeof(mapped), 4);
    memcpy(to, &to4, sizeof(to4));
    return sizeof(to4);
}

int vp_gate_send(const vp_gate *gate, int socket, const uint16_t *slots,
                 const uint8_t *const *messages, const uint16_t *sizes, uint32_t count)
{
    struct mmsghdr headers[VP_GATE_BATCH];
    struct iovec parts[VP_GATE_BATCH];
    struct sockaddr_in6 to[VP_GATE_BATCH];
    uint32_t done = 0;

    while (done < count) {
        const uint32_t left = count - done;
        const unsigned batch = left < VP_GATE_BATCH ? left : VP_GATE_BATCH;
        memset(headers, 0, sizeof(headers));
        for (unsigned i = 0; i < batch; i++) {
            const uint32_t at = done + i;
            parts[i].iov_base = (void *)(uintptr_t)messages[at];
            parts[i].iov_len = sizes[at];
            headers[i].msg_hdr.msg_iov = &parts[i];
            headers[i].msg_hdr.msg_iovlen = 1;
            headers[i].msg_hdr.msg_name = &to[i];
            headers[i].msg_hdr.msg_namelen = receiver(&gate->nodes[slots[at]], &to[i]);
        }
        const int sent = sendmmsg(socket, headers, batch, MSG_DONTWAIT);
        if (sent > 0) {
            done += (uint32_t)sent;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) {
            break;
        } else if (errno != EINTR) {
            done++;
        }
    }
    return (int)done;
}

#else

int vp_gate_receive(vp_gate *gate, int socket, double now)
{
    (void)gate;
    (void)socket;
    (void)now;
    return VP_GATE_UNSUPPORTED;
}

int vp_gate_send(const vp_gate *gate, int socket, const uint16_t *slots,
                 const uint8_t *const *messages, const uint16_t *sizes, uint32_t count)
{
    (void)gate;
    (void)socket;
    (void)slots;
    (void)messages;
    (void)sizes;
    (void)count;
    return VP_GATE_UNSUPPORTED;
}

#endif
