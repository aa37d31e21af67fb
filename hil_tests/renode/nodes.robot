*** Settings ***
Documentation       Nodes on emulated boards, driven with Renode's keywords and heard by the gateway.
...                 Run with renode-test; docs/renode.md says how.
Library             OperatingSystem
Library             ${CURDIR}/NodeLibrary.py
Suite Setup         Setup
Suite Teardown      Teardown
Test Setup          Reset Emulation
Test Teardown       Run Keywords    Stop Gateway    AND    Test Teardown
Resource            ${RENODEKEYWORDS}

*** Variables ***
${HALT}             sysbus.cpu IsHalted true
${GO_ON}            sysbus.cpu IsHalted false

*** Keywords ***
Start Two Nodes
    Create Directory            ${TEMPDIR}/vp-robot
    Empty Directory             ${TEMPDIR}/vp-robot
    FOR    ${node}    ${variant}    IN    1    d8    2    d24
        Write Node Files        ${node}    ${variant}    ${TEMPDIR}/vp-robot
        ${port}=                Free Port    ${node}
        Execute Command         $port${node}=${port}
        Execute Command         $flash${node}=@${TEMPDIR}/vp-robot/node-${node}.bin
        Execute Command         $identity${node}=@${TEMPDIR}/vp-robot/node-${node}.provision.bin
    END
    Execute Script              ${CURDIR}/two_nodes.resc
    Start Emulation
    Start Gateway               ${TEMPDIR}/vp-robot

*** Test Cases ***
Nodes Boot And Answer
    Start Two Nodes
    Node Should Become              1    up
    Node Should Become              2    up
    Image Should Be Answered By     1    2

Node Is Reset And Says Why
    Start Two Nodes
    Node Should Become              1    up
    Node Should Become              2    up
    ${boot}=                        Boot Of Node    1
    Execute Command                 machine Reset    machine=node-1
    Node Should Come Back           1    ${boot}    external
    Image Should Be Answered By     1    2

Halted Node Is Dead While The Other Goes On
    Start Two Nodes
    Node Should Become              1    up
    Node Should Become              2    up
    Execute Command                 ${HALT}    machine=node-1
    Node Should Become              1    dead
    Image Should Be Answered By     2
    Execute Command                 ${GO_ON}    machine=node-1
    Node Should Become              1    up
    Image Should Be Answered By     1    2

Fault Of The Firmware Is Reported
    Start Two Nodes
    Node Should Become              1    up
    Node Should Become              2    up
    ${boot}=                        Boot Of Node    1
    # An undefined instruction where every inference passes: udf #0.
    ${address}=                     Address Of    vp_topk_select    d8
    Execute Command                 sysbus WriteWord ${address} 0xDE00    machine=node-1
    Ask The Nodes
    Node Should Come Back           1    ${boot}    fault
    Image Should Be Answered By     1    2

Cut Line Is A Dead Node
    Start Two Nodes
    Node Should Become              1    up
    Node Should Become              2    up
    Execute Command                 connector Disconnect sysbus.uart0 line2    machine=node-2
    Node Should Become              2    dead
    Image Should Be Answered By     1
    Execute Command                 connector Connect sysbus.uart0 line2    machine=node-2
    Node Should Become              2    up
    Image Should Be Answered By     1    2
