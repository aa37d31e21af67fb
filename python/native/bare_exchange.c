#ifdef __linux__
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#endif

#include "vp_bare.h"
#include "vp_virtual.h"

#ifdef __linux__

#define BATCH 64
#define PATIENCE_MS 50

static int send_trigger(vp_bare *bare)
{
    const struct sockaddr_in group = {.sin_family = AF_INET,
                                      .sin_port = htons(bare->group_port),
                                      .sin_addr = {.s_addr = htonl(bare->group_address)}};
    const vp_trigger trigger = {.request = (uint16_t)(bare->counter & 65535u), .k = 2};
    const vp_wire_header header = {.type = VP_TRIGGER,
                                   .fleet = bare->fleet,
                                   .node = VP_WIRE_ALL_NODES,
                                   .counter = bare->counter++};
    uint8_t payload[VP_WIRE_MAX_MESSAGE];
    uint8_t message[VP_WIRE_MAX_MESSAGE];
    const int size = vp_trigger_pack(&trigger, payload, sizeof(payload));
    const int sealed =
        vp_message_seal(&header, payload, (size_t)size, bare->key, message, sizeof(message));
    bare->triggers++;
    const ssize_t sent = sendto(bare->socket, message, (size_t)sealed, 0,
                                (const struct sockaddr *)&group, sizeof(group));
    return sent < 0 && errno != EAGAIN ? -errno : 0;
}

int vp_bare_exchange(vp_bare *bare, uint64_t until_ns)
{
    struct mmsghdr messages[BATCH];
    struct iovec data[BATCH];
    uint8_t bytes[BATCH][VP_WIRE_MAX_MESSAGE + 1];
    uint64_t waiting = 0;

    memset(messages, 0, sizeof(messages));
    for (unsigned i = 0; i < BATCH; i++) {
        data[i] = (struct iovec){.iov_base = bytes[i], .iov_len = sizeof(bytes[i])};
        messages[i].msg_hdr.msg_iov = &data[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    while (vp_virtual_now() < until_ns) {
        while (waiting + bare->nodes <= (uint64_t)bare->in_flight * bare->nodes) {
            const int error = send_trigger(bare);
            if (error != 0) {
                return error;
            }
            waiting += bare->nodes;
        }
        const int count = recvmmsg(bare->socket, messages, BATCH, MSG_DONTWAIT, NULL);
        if (count > 0) {
            bare->received += (uint64_t)count;
            waiting -= waiting < (uint64_t)count ? waiting : (uint64_t)count;
        } else if (count == 0 || errno == EAGAIN) {
            struct pollfd ready = {.fd = bare->socket, .events = POLLIN};
            if (poll(&ready, 1, PATIENCE_MS) == 0) {
                bare->lost += waiting;
                waiting = 0;
            }
        } else if (errno != EINTR && errno != ECONNREFUSED) {
            return -errno;
        }
    }
    return 0;
}

#else

int vp_bare_exchange(vp_bare *bare, uint64_t until_ns)
{
    (void)bare;
    (void)until_ns;
    return -1;
}

#endif
