#include "rings.h"

#include <string.h>

#include "mac.h"
#include "stm32.h"

#define FCS_SIZE 4u
#define MAX_FRAME 1514u

_Static_assert(VP_RINGS_BUFFER % 4u == 0u && VP_RINGS_BUFFER < 1u << 13, "not a size of RDES1");
_Static_assert(VP_RINGS_SEND * VP_RINGS_BUFFER >= MAX_FRAME, "a frame does not fit the ring");

/* Chained: each descriptor names the next one, the last the first. */
static VP_STM32_DMA_MEMORY struct {
    vp_mac_descriptor receive[VP_RINGS_RECEIVE];
    vp_mac_descriptor send[VP_RINGS_SEND];
    uint8_t received[VP_RINGS_RECEIVE][VP_RINGS_BUFFER];
    uint8_t sent[VP_RINGS_SEND][VP_RINGS_BUFFER];
} dma;

/* The first descriptor of the next frame, in each ring. */
static unsigned receive_at;
static unsigned send_at;

static unsigned after(unsigned at, unsigned count, unsigned ring)
{
    return (at + count) % ring;
}

void vp_rings_start(void)
{
    for (unsigned i = 0; i < VP_RINGS_RECEIVE; i++) {
        dma.receive[i].control = RDES1_RCH | VP_RINGS_BUFFER;
        dma.receive[i].buffer = vp_mac_address(dma.received[i]);
        dma.receive[i].next = vp_mac_address(&dma.receive[after(i, 1, VP_RINGS_RECEIVE)]);
        dma.receive[i].status = DES0_OWN;
    }
    for (unsigned i = 0; i < VP_RINGS_SEND; i++) {
        dma.send[i].control = 0;
        dma.send[i].buffer = vp_mac_address(dma.sent[i]);
        dma.send[i].next = vp_mac_address(&dma.send[after(i, 1, VP_RINGS_SEND)]);
        dma.send[i].status = TDES0_TCH;
    }
    receive_at = 0;
    send_at = 0;
    vp_mac_order();
    vp_mac_write(ETH_DMARDLAR, vp_mac_address(dma.receive));
    vp_mac_write(ETH_DMATDLAR, vp_mac_address(dma.send));
}

/* A ring that was full stops the DMA (33.6.6: receive buffer unavailable) until a poll demand, or until
 * the next frame, which a quiet gateway may never send. */
static void give_back(unsigned count)
{
    vp_mac_order();
    for (; count != 0u; count--) {
        dma.receive[receive_at].status = DES0_OWN;
        receive_at = after(receive_at, 1, VP_RINGS_RECEIVE);
    }
    vp_mac_order();
    if ((vp_mac_read(ETH_DMASR) & ETH_DMASR_RBUS) != 0u) {
        vp_mac_write(ETH_DMASR, ETH_DMASR_RBUS);
        vp_mac_write(ETH_DMARPDR, 0);
    }
}

/* How many descriptors the next frame takes, or what there is of a frame that has no end: such a one
 * fills the ring or is followed by the first descriptor of another. `last` becomes the status of the
 * last of them. @return 0 while the DMA is not done with it. */
static unsigned find_end(uint32_t *last)
{
    unsigned count = 0;
    while (count < VP_RINGS_RECEIVE) {
        const uint32_t status = dma.receive[after(receive_at, count, VP_RINGS_RECEIVE)].status;
        if ((status & DES0_OWN) != 0u) {
            return 0;
        }
        if (count != 0u && (status & RDES0_FS) != 0u) {
            break;
        }
        count++;
        *last = status;
        if ((status & RDES0_LS) != 0u) {
            break;
        }
    }
    return count;
}

int vp_rings_waiting(void)
{
    uint32_t last;
    return find_end(&last) != 0u;
}

/* @return the size of the frame in `count` descriptors, or 0: not to be taken. */
static size_t size_of_frame(unsigned count, uint32_t last, size_t capacity)
{
    const uint32_t first = dma.receive[receive_at].status;
    const size_t length = last >> RDES0_FL_SHIFT & RDES0_FL_MASK;
    if ((first & RDES0_FS) == 0u || (last & RDES0_LS) == 0u || (last & RDES0_ES) != 0u ||
        length <= FCS_SIZE || length > count * VP_RINGS_BUFFER || length - FCS_SIZE > capacity) {
        return 0;
    }
    return length - FCS_SIZE;
}

size_t vp_rings_receive(uint8_t *frame, size_t capacity)
{
    for (;;) {
        uint32_t last = 0;
        const unsigned count = find_end(&last);
        if (count == 0u) {
            return 0;
        }
        vp_mac_order();
        const size_t size = size_of_frame(count, last, capacity);
        for (size_t at = 0; at < size; at += VP_RINGS_BUFFER) {
            const unsigned index =
                after(receive_at, (unsigned)(at / VP_RINGS_BUFFER), VP_RINGS_RECEIVE);
            const size_t left = size - at;
            memcpy(frame + at, dma.received[index], left < VP_RINGS_BUFFER ? left : VP_RINGS_BUFFER);
        }
        give_back(count);
        if (size != 0u) {
            return size;
        }
    }
}

int vp_rings_send(const uint8_t *frame, size_t size)
{
    const unsigned count = (unsigned)((size + VP_RINGS_BUFFER - 1u) / VP_RINGS_BUFFER);
    if (size == 0u || size > MAX_FRAME ||
        (dma.send[after(send_at, count - 1u, VP_RINGS_SEND)].status & DES0_OWN) != 0u) {
        return 0;
    }
    /* From the last to the first, which alone the DMA waits for: it must not run into a descriptor of
     * this frame that is not its own yet. */
    for (unsigned i = count; i-- != 0u;) {
        vp_mac_descriptor *descriptor = &dma.send[after(send_at, i, VP_RINGS_SEND)];
        const size_t at = i * VP_RINGS_BUFFER;
        const size_t bytes = size - at < VP_RINGS_BUFFER ? size - at : VP_RINGS_BUFFER;
        memcpy(dma.sent[after(send_at, i, VP_RINGS_SEND)], frame + at, bytes);
        descriptor->control = (uint32_t)bytes;
        vp_mac_order();
        descriptor->status = DES0_OWN | TDES0_TCH | (i == 0u ? TDES0_FS : 0u) |
                             (i == count - 1u ? TDES0_LS : 0u);
    }
    send_at = after(send_at, count, VP_RINGS_SEND);
    vp_mac_order();
    vp_mac_write(ETH_DMASR, ETH_DMASR_TBUS | ETH_DMASR_TUS);
    vp_mac_write(ETH_DMATPDR, 0);
    return 1;
}
