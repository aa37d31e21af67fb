/**
 * @file mac.h
 * Registers and descriptors of the Ethernet MAC of STM32F4 and STM32F7 that the driver uses: RM0090
 * sections 33.6.7 to 33.6.8 (descriptors, normal form of four words) and 33.8 (registers); RM0385
 * chapter 38 and RM0410 chapter 42 have the same. Offsets are from 0x40028000.
 */
#ifndef VP_STM32_MAC_H
#define VP_STM32_MAC_H

#include <stddef.h>
#include <stdint.h>

/** Configuration. Bit 15 is reserved and set by reset. */
#define ETH_MACCR 0x0000u
#define ETH_MACCR_RE (1u << 2)
#define ETH_MACCR_TE (1u << 3)
#define ETH_MACCR_DM (1u << 11)
#define ETH_MACCR_FES (1u << 14)
#define ETH_MACCR_RESERVED (1u << 15)
#define ETH_MACCR_CSD (1u << 16)

/** Frame filter. Without a bit: the station's own address and broadcast. */
#define ETH_MACFFR 0x0004u
#define ETH_MACFFR_PAM (1u << 4)

/** Station management: address and data. */
#define ETH_MACMIIAR 0x0010u
#define ETH_MACMIIAR_MB (1u << 0)
#define ETH_MACMIIAR_MW (1u << 1)
#define ETH_MACMIIAR_CR_SHIFT 2
#define ETH_MACMIIAR_MR_SHIFT 6
#define ETH_MACMIIAR_PA_SHIFT 11
#define ETH_MACMIIDR 0x0014u

/** The station's address. Writing the low word hands both over. */
#define ETH_MACA0HR 0x0040u
#define ETH_MACA0LR 0x0044u

/** Interrupt masks of the statistics counters. */
#define ETH_MMCRIMR 0x010Cu
#define ETH_MMCRIMR_ALL (1u << 5 | 1u << 6 | 1u << 17)
#define ETH_MMCTIMR 0x0110u
#define ETH_MMCTIMR_ALL (1u << 14 | 1u << 15 | 1u << 21)

/** DMA bus mode. Beats a burst: (n) << 8. */
#define ETH_DMABMR 0x1000u
#define ETH_DMABMR_SR (1u << 0)
#define ETH_DMABMR_PBL_32 (32u << 8)
#define ETH_DMABMR_FB (1u << 16)
#define ETH_DMABMR_AAB (1u << 25)

/** Poll demands (any value), and where the lists begin. */
#define ETH_DMATPDR 0x1004u
#define ETH_DMARPDR 0x1008u
#define ETH_DMARDLAR 0x100Cu
#define ETH_DMATDLAR 0x1010u

/** DMA status: written ones clear. */
#define ETH_DMASR 0x1014u
#define ETH_DMASR_TS (1u << 0)
#define ETH_DMASR_TBUS (1u << 2)
#define ETH_DMASR_TUS (1u << 5)
#define ETH_DMASR_RS (1u << 6)
#define ETH_DMASR_RBUS (1u << 7)
#define ETH_DMASR_NIS (1u << 16)
#define ETH_DMASR_ALL 0x0001E7FFu

/** DMA operation mode: whole frames in the FIFOs before they go on; both engines. */
#define ETH_DMAOMR 0x1018u
#define ETH_DMAOMR_SR (1u << 1)
#define ETH_DMAOMR_ST (1u << 13)
#define ETH_DMAOMR_TSF (1u << 21)
#define ETH_DMAOMR_RSF (1u << 25)

/** DMA interrupts. */
#define ETH_DMAIER 0x101Cu
#define ETH_DMAIER_RIE (1u << 6)
#define ETH_DMAIER_NISE (1u << 16)

/** A descriptor of either ring: RDES0 .. RDES3 or TDES0 .. TDES3. */
typedef struct vp_mac_descriptor {
    volatile uint32_t status;
    volatile uint32_t control;
    volatile uint32_t buffer;
    volatile uint32_t next;
} vp_mac_descriptor;

/** RDES0 and TDES0: the DMA's, else the driver's. */
#define DES0_OWN (1u << 31)

#define RDES0_LS (1u << 8)
#define RDES0_FS (1u << 9)
#define RDES0_ES (1u << 15)
#define RDES0_FL_SHIFT 16
#define RDES0_FL_MASK 0x3FFFu
/** RDES1: `next` is the next descriptor. The size of the buffer is in bits 0-12. */
#define RDES1_RCH (1u << 14)

/** TDES0: `next` is the next descriptor. TDES1: bytes of the buffer in bits 0-12. */
#define TDES0_TCH (1u << 20)
#define TDES0_FS (1u << 28)
#define TDES0_LS (1u << 29)

/** What stands between the driver and the chip, so that a test can stand there. */
uint32_t vp_mac_read(uint32_t offset);
void vp_mac_write(uint32_t offset, uint32_t value);

/** Ends all accesses to memory and registers before it begins those after it, as the DMA sees them. */
void vp_mac_order(void);

/** The address by which the DMA knows some memory. */
uint32_t vp_mac_address(const volatile void *memory);

#endif
