/* Second stage of the boot. The boot ROM (RP2040 datasheet section 2.8.1.3.1) copies the first 256
 * bytes of the flash to the end of RAM and, if the checksum in the last four is right, runs them there.
 * They teach the memory interface (SSI, section 4.10) the flash chip's fast read: command EBh, address
 * and data on four lines, at half the core's clock, the command itself sent once. Then they start the
 * image behind them. flash.c runs a copy of them after it has written, with an address to return to:
 * so they may stand at any address.
 *
 * test_pico.py computes the checksum of an image: whoever changes the code finds the new one there. */
    .syntax unified
    .cpu cortex-m0plus
    .thumb

    .equ PADS_QSPI, 0x40020000
    .equ PADS_QSPI_CLEAR, 0x40023000
    .equ PAD_CLOCK, 0x04
    .equ PAD_DATA0, 0x08
    .equ PAD_DATA1, 0x0C
    .equ PAD_DATA2, 0x10
    .equ PAD_DATA3, 0x14
    .equ PAD_CLOCK_8MA_FAST, 0x21
    .equ PAD_SCHMITT, 0x02

    .equ SSI, 0x18000000
    .equ CTRLR0, 0x00
    .equ CTRLR1, 0x04
    .equ ENABLE, 0x08
    .equ BAUDR, 0x14
    .equ STATUS, 0x28
    .equ DATA, 0x60
    .equ RX_SAMPLE_DELAY, 0xF0
    .equ SPI_CTRLR0, 0xF4
    .equ STATUS_BUSY, 0x01
    .equ STATUS_TX_EMPTY, 0x04

    .equ CTRLR0_BYTES, 7 << 16              /* Eight bits a frame, sent and received. */
    .equ CTRLR0_QUAD_READ, 2 << 21 | 31 << 16 | 3 << 8
    /* Eight bits of command on one line, 24 of address and 8 of mode on four, four idle clocks. */
    .equ SPI_COMMAND, 4 << 11 | 2 << 8 | 8 << 2 | 1
    /* No command any more: address on four lines, then the mode that says so. */
    .equ SPI_CONTINUED, 0xA0 << 24 | 4 << 11 | 8 << 2 | 2

    .equ FLASH_WRITE_STATUS, 0x01
    .equ FLASH_READ_STATUS_1, 0x05
    .equ FLASH_WRITE_ENABLE, 0x06
    .equ FLASH_READ_STATUS_2, 0x35
    .equ FLASH_READ_QUAD, 0xEB
    .equ FLASH_MODE_CONTINUED, 0xA0
    .equ FLASH_STATUS_1_BUSY, 0x01
    .equ FLASH_STATUS_2_QUAD, 0x02

    .equ VTOR, 0xE000ED08
    .equ IMAGE, 0x10000100

    .section .boot2, "ax", %progbits
    .balign 4
    .global vp_rp2040_boot2
vp_rp2040_boot2:
    push {lr}

    ldr r3, =PADS_QSPI
    movs r0, #PAD_CLOCK_8MA_FAST
    str r0, [r3, #PAD_CLOCK]
    ldr r3, =PADS_QSPI_CLEAR
    movs r1, #PAD_SCHMITT                   /* Costs time on the way in. The pulls stay as they are. */
    str r1, [r3, #PAD_DATA0]
    str r1, [r3, #PAD_DATA1]
    str r1, [r3, #PAD_DATA2]
    str r1, [r3, #PAD_DATA3]

    ldr r3, =SSI
    movs r0, #0
    str r0, [r3, #ENABLE]
    movs r0, #2
    str r0, [r3, #BAUDR]
    movs r0, #RX_SAMPLE_DELAY
    movs r1, #1
    str r1, [r3, r0]
    ldr r0, =CTRLR0_BYTES
    str r0, [r3, #CTRLR0]
    str r1, [r3, #ENABLE]

    movs r0, #FLASH_READ_STATUS_2
    bl read_status
    movs r1, #FLASH_STATUS_2_QUAD
    tst r0, r1
    bne quad_is_on
    movs r0, #FLASH_WRITE_ENABLE
    str r0, [r3, #DATA]
    bl finish
    ldr r0, [r3, #DATA]
    movs r0, #FLASH_WRITE_STATUS
    str r0, [r3, #DATA]
    movs r0, #0
    str r0, [r3, #DATA]
    movs r0, #FLASH_STATUS_2_QUAD
    str r0, [r3, #DATA]
    bl finish
    ldr r0, [r3, #DATA]
    ldr r0, [r3, #DATA]
    ldr r0, [r3, #DATA]
busy:
    movs r0, #FLASH_READ_STATUS_1
    bl read_status
    movs r1, #FLASH_STATUS_1_BUSY
    tst r0, r1
    bne busy

quad_is_on:
    movs r2, #0
    str r2, [r3, #ENABLE]
    ldr r0, =CTRLR0_QUAD_READ
    str r0, [r3, #CTRLR0]
    str r2, [r3, #CTRLR1]                   /* One frame a read. */
    movs r2, #SPI_CTRLR0
    ldr r0, =SPI_COMMAND
    str r0, [r3, r2]
    movs r1, #1
    str r1, [r3, #ENABLE]
    movs r0, #FLASH_READ_QUAD
    str r0, [r3, #DATA]
    movs r0, #FLASH_MODE_CONTINUED
    str r0, [r3, #DATA]
    bl finish
    movs r0, #0
    str r0, [r3, #ENABLE]
    ldr r0, =SPI_CONTINUED
    str r0, [r3, r2]
    str r1, [r3, #ENABLE]

    pop {r0}
    cmp r0, #0
    bne leave
    ldr r0, =IMAGE
    ldr r1, =VTOR
    str r0, [r1]
    ldm r0!, {r1, r2}
    msr msp, r1
    bx r2
leave:
    bx r0

/* Until all is sent and the chip deselected. r0 is lost. */
finish:
    ldr r0, [r3, #STATUS]
    lsls r0, r0, #31 - 2                    /* TX_EMPTY to the sign, BUSY to bit 29. */
    bpl finish
    lsls r0, r0, #2
    bmi finish
    bx lr

/* r0: a status register's command, then its value. */
read_status:
    push {lr}
    str r0, [r3, #DATA]
    str r0, [r3, #DATA]
    bl finish
    ldr r0, [r3, #DATA]
    ldr r0, [r3, #DATA]
    pop {pc}

    .ltorg
    .balign 4
    .org 252
    .word 0x0E2BCAE3
