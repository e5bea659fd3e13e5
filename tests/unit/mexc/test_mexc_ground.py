"""What both sides of MEXC's protocol share: signatures, names and messages."""

from __future__ import annotations

import pytest

from backoffice.scripts import make_protobuf
from services.common.errors import ContractViolation
from services.common.mexc import push_pb2
from services.common.mexc.signing import (
    perpetual_login_signature,
    perpetual_signature,
    sorted_query,
    spot_signature,
)
from services.common.mexc.symbols import exchange_symbol, perpetual_symbol

KEY = "mx0aBYs33eIilxBWC5"  # not a secret: MEXC's published signature vector
SECRET = "45d0b3c26f2644f19bfb98b07741b2f5"  # not a secret: MEXC's published signature vector


@pytest.mark.parametrize(
    ("query", "body", "signature"),
    [
        (
            "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=11&recvWindow=5000&timestamp=1644489390087",
            "",
            "fd3e4e8543c5188531eb7279d68ae7d26a573d0fc5ab0d18eb692451654d837a",
        ),
        (
            "symbol=BTCUSDT&side=BUY&type=LIMIT",
            "quantity=1&price=11&recvWindow=5000&timestamp=1644489390087",
            "d1a676610ceb39174c8039b3f548357994b2a34139a8addd33baadba65684592",
        ),
        (
            "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=11&timestamp=1644489390087&recvWindow=5000",
            "",
            "cde30661a0504b2b922f1b00c74dc328308279854bb4899494e675e87a61f452",
        ),
    ],
)
def test_a_spot_request_is_signed_as_the_exchange_publishes(query: str, body: str, signature: str) -> None:
    """The published vectors: query alone, query and body with nothing between them, and another order."""
    assert spot_signature(SECRET, query, body) == signature


@pytest.mark.parametrize(
    ("parameters", "signature"),
    [
        (
            '{"symbol":"BTC_USDT","vol":1.0,"type":1,"openType":2,"price":109000.5,"side":1,"externalOid":"bot-0001"}',
            "6609d915921124c720f618c7513cb4a566b6b4a90ade8e6de91e9562df1aac1a",
        ),
        ('["739113577038255616"]', "702429d68c1093b9f2b054f2a192e79f4a1545ccb8025f6e308cda376283a1fb"),
        (
            sorted_query({"page_size": "100", "page_num": "1"}),
            "95eccf5e72ec1e76b4bdff7cb9d9b8d34ae5ecd3cf1e2db0c91d6361f7c07493",
        ),
        ("", "909481c183f038089a476d41281c10c663c2e45acc1aec248e42abe483e9e8ed"),
    ],
)
def test_a_perpetual_request_is_signed_as_ccxt_signs_it(parameters: str, signature: str) -> None:
    """JSON body, array body, sorted query and nothing: key and time stand before them."""
    assert perpetual_signature(SECRET, KEY, "1761888808000", parameters) == signature


def test_a_login_on_the_perpetual_stream_is_signed_over_key_and_time() -> None:
    """The published vector of the `login` message."""
    expected = "80ba7c7524202da3acc2c52f472307a442a59d731b729cb8aef100fff2b7a8c7"
    assert perpetual_login_signature(SECRET, KEY, "1657186536762") == expected


def test_an_instrument_has_another_name_on_each_venue() -> None:
    """`BTCUSDT` is `BTC_USDT` as a contract; both ways of writing mean the same."""
    assert exchange_symbol("mexc_spot", "BTC_USDT") == "BTCUSDT"
    assert exchange_symbol("mexc_perpetual", "BTCUSDT") == perpetual_symbol("btc/usdt") == "BTC_USDT"


@pytest.mark.parametrize("symbol", ["BTCEURX", "XUSDT "[:4], "USDTUSDX"])
def test_what_no_contract_is_quoted_in_is_refused_by_its_name(symbol: str) -> None:
    """A name that cannot be a contract's is an error that shows it."""
    with pytest.raises(ContractViolation, match=symbol):
        perpetual_symbol(symbol)


def test_generated_messages_are_those_of_the_description() -> None:
    """Whoever changes push.proto runs make_protobuf.py; nobody edits the generated file."""
    assert make_protobuf.main(["--check"]) == 0


def test_messages_carry_the_published_field_numbers() -> None:
    """The bytes of a deal, counted by hand from the field tables: body 314 holds item 1 with price 1, quantity 2."""
    message = push_pb2.PushDataV3ApiWrapper(channel="c")
    message.publicAggreDeals.deals.add(price="1", quantity="2", tradeType=2)
    deal = b"\x0a\x011" + b"\x12\x012" + b"\x18\x02"
    body = b"\x0a" + bytes([len(deal)]) + deal
    assert message.SerializeToString() == b"\x0a\x01c" + b"\xd2\x13" + bytes([len(body)]) + body
