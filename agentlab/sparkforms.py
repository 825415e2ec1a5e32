"""Pieces of Spark SQL that mean what DuckDB's do, as sqlglot trees: for expressions and for Ibis's compiler alike.

`sparkwords.py` turns whole expressions into them. Functions stand here by Spark's own names, since sqlglot's nodes for
several of them mean something else in each dialect.
"""

from __future__ import annotations

import re
from typing import Any

from sqlglot import exp

from agentlab.actions import ColumnType

#: How Spark names our types.
SPARK_TYPES: dict[ColumnType, str] = {
    **{"int": "BIGINT", "float": "DOUBLE", "text": "STRING", "date": "DATE"},
    **{"timestamp": "TIMESTAMP_NTZ", "bool": "BOOLEAN", "json": "STRING"},
}

#: Characters that mean something in a Java pattern.
_SPECIAL = re.compile(r"([\\.\[\]{}()*+?^$|])")
#: Beyond it a float has no fraction, and Spark's `floor` would cut it to 64 bits.
_WHOLE = 4.5e15

_DAY = r"[0-9]{4}[-/ ][0-9]{1,2}[-/ ][0-9]{1,2}"
_CLOCK = r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?"
_DATE = rf"^\s*{_DAY}(\s.*)?$"
_MOMENT = rf"^\s*[0-9]{{4}}-[0-9]{{1,2}}-[0-9]{{1,2}}([ T]{_CLOCK}( ?(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?))?)?\s*$"
#: Java reads `1d` and `1f` as numbers.
_FLOAT = r"[0-9.]\s*$|[nN]\s*$|[yY]\s*$|[iI][nN][fF]\s*$"


def call(name: str, *arguments: Any) -> exp.Expr:
    """A function of Spark by its own name; texts and numbers become literals.

    >>> call("rint", exp.column("x")).sql("spark")
    'RINT(x)'
    """
    return exp.Anonymous(this=name, expressions=[exp.convert(argument, copy=True) for argument in arguments])


def typed(value: exp.Expr, type: str, safe: bool = False) -> exp.Expr:
    """The value as a type of Spark's; `safe`: missing where it can't be."""
    to = exp.DataType.build(type, dialect="spark")
    return exp.TryCast(this=value.copy(), to=to, safe=True) if safe else exp.Cast(this=value.copy(), to=to)


def either(condition: exp.Expr, yes: Any, no: Any) -> exp.Expr:
    """One value where the condition holds, the other elsewhere."""
    return exp.If(this=condition, true=exp.convert(yes, copy=True), false=exp.convert(no, copy=True))


def fault(message: str) -> exp.Expr:
    """A row that ends the query, as DuckDB would end it."""
    return call("raise_error", f"[INVALID_VALUE] {message}")


def float_text(number: exp.Expr) -> exp.Expr:
    """A float as text: plain up to 16 digits, then with an exponent (`1e+16`), where Java writes `1.0E7`.

    >>> float_text(exp.column("x")).sql("spark").startswith("CASE WHEN")
    True
    """
    java, size = typed(number, "string"), call("abs", number)
    plain = exp.or_(exp.and_(size >= 1e-3, size < 1e7), exp.EQ(this=number.copy(), expression=exp.Literal.number(0)))
    digits = call("regexp_replace", typed(typed(java, "decimal(38, 22)"), "string"), r"(\.[0-9]+?)0+$", "$1")
    mantissa = call("regexp_replace", call("substring_index", java, "E", 1), r"\.0$", "")
    power = call("substring_index", java, "E", -1)
    sign = either(call("startswith", power, "-"), "e-", "e+")
    shown = call("lpad", call("replace", power, "-", ""), 2, "0")
    shown = either(call("length", power) > 3, call("replace", power, "-", ""), shown)
    case = exp.Case().when(plain, java.copy()).when(exp.and_(size >= 1e-4, size < 1e16), digits)
    case = case.when(call("isnan", number), exp.convert("nan"))
    case = case.when(number.copy().eq(typed(exp.convert("inf"), "double")), exp.convert("inf"))
    case = case.when(number.copy().eq(typed(exp.convert("-inf"), "double")), exp.convert("-inf"))
    return case.else_(call("concat", mantissa, sign, shown))


def json_text(text: exp.Expr, strict: bool = False) -> exp.Expr:
    """The text where it is JSON; missing where it isn't, or with `strict` an error."""
    other = fault("malformed JSON") if strict else exp.null()
    parsed = exp.Not(this=exp.Is(this=call("try_parse_json", text), expression=exp.null()))
    return either(parsed, text, either(_given(text), other, exp.null()) if strict else other)


def _given(value: exp.Expr) -> exp.Expr:
    return exp.Not(this=exp.Is(this=value.copy(), expression=exp.null()))


def read_text(text: exp.Expr, to: ColumnType, safe: bool) -> exp.Expr:
    """A text as another type, by what DuckDB can read; else missing (`safe`) or an error."""
    if to == "text":
        return typed(text, "string")
    if to == "json":
        return json_text(text, strict=not safe)
    if to == "bool":
        return typed(text, "boolean", safe)
    if to == "int":
        return typed(call("round", typed(text, "decimal(38, 10)", safe)), "bigint", safe)
    pattern = {"float": _FLOAT, "date": _DATE, "timestamp": _MOMENT}[to]
    fits = call("rlike", text, pattern)
    value = _READ[to](text, safe)
    if safe:
        return either(fits, value, exp.null())
    return either(exp.or_(fits, exp.Is(this=text.copy(), expression=exp.null())), value, fault(f"not a {to}"))


_READ = {
    "float": lambda text, safe: typed(text, "double", safe),
    "date": lambda text, safe: typed(
        call("regexp_replace", call("regexp_extract", text, rf"^\s*({_DAY})", 1), "[/ ]", "-"), "date", safe
    ),
    "timestamp": lambda text, safe: typed(typed(text, "timestamp_ltz", safe), "timestamp_ntz"),
}


def literally(text: exp.Expr) -> exp.Expr:
    r"""A pattern that matches just this text.

    >>> print(literally(exp.convert("a|b")).name)
    a\|b
    """
    if isinstance(text, exp.Literal):
        return exp.convert(_SPECIAL.sub(r"\\\1", text.name))
    return call("concat", r"\Q", text, r"\E")


def rounded_off(function: str, number: exp.Expr) -> exp.Expr:
    """`floor`, `ceil` and the like of a float as a float, whatever its size."""
    small = call("abs", number) < _WHOLE
    return either(small, typed(call(function, number), "double"), typed(number, "double"))


_POSIX = {
    **{"alpha": "Alpha", "digit": "Digit", "alnum": "Alnum", "upper": "Upper", "lower": "Lower"},
    **{"punct": "Punct", "space": "Space", "cntrl": "Cntrl", "graph": "Graph", "print": "Print", "xdigit": "XDigit"},
}
_TOKEN = re.compile(r"\\.|\[\[:\^?\w+:\]|\[:\^?\w+:\]|\[\^?\]?|\]|\(\?P<|&&|\$|.", re.DOTALL)


def java_pattern(pattern: str, options: str = "") -> str:
    r"""A pattern of RE2, DuckDB's, as Java reads it.

    >>> print(java_pattern("^[[:alpha:][]$"))
    (?d)^[\p{Alpha}\[]\z
    """
    inside, written = False, []
    many = "m" in options or "(?m" in pattern
    for token in _TOKEN.findall(pattern):
        if name := re.search(r"\[:(\^?)(\w+):\]", token):
            written.append(("[" if token.startswith("[[") else "") + _posix(*name.groups()))
            inside = True
        elif token.startswith("[") and not inside:
            written.append(token.replace("[]", "[\\]").replace("^]", "^\\]"))
            inside = True
        elif inside:
            written.append({"[": r"\[", "[^": r"\[^", "&&": r"&\&", "[]": r"\[]"}.get(token, token))
            inside = token not in ("]", "[]")
        else:
            written.append({"(?P<": "(?<", "$": "$" if many else r"\z"}.get(token, token))
    flags = "d" + ("i" if "i" in options else "") + ("s" if "s" in options else "") + ("m" if "m" in options else "")
    return f"(?{flags})" + "".join(written)


def _posix(negated: str, name: str) -> str:
    return rf"\{'P' if negated else 'p'}{{{_POSIX.get(name, name.title())}}}"


def java_replacement(text: str, shift: int) -> str:
    r"""What `\1` and `$` in a replacement of RE2 are to Java, its groups counted from a later one.

    >>> print(java_replacement("\\1 costs $5", 2))
    $3\ costs\ \$\5
    """
    parts = re.findall(r"\\[0-9]|\\.|.", text, re.DOTALL)
    return "".join(f"${int(part[1]) + shift}" if re.fullmatch(r"\\[0-9]", part) else _plain(part[-1]) for part in parts)


def _plain(character: str) -> str:
    return character if character.isalpha() else f"\\{character}"


#: strftime's directives as Java's formatter writes them.
_DIRECTIVES = {
    **{"Y": "yyyy", "m": "MM", "d": "dd", "H": "HH", "M": "mm", "S": "ss", "I": "hh", "y": "yy", "j": "DDD"},
    **{"f": "SSSSSS", "g": "SSS", "b": "MMM", "B": "MMMM", "a": "EEE", "A": "EEEE", "p": "a", "z": "xx"},
    **{"-d": "d", "-m": "M", "-H": "H", "-M": "m", "-S": "s", "-I": "h", "-j": "D", "-y": "yy"},
}


def java_format(text: str, reading: bool = False) -> str:
    """A format of strftime as Java's; for `reading`, numbers that nothing follows directly may have one digit.

    >>> java_format("%d.%m.%Y at %H"), java_format("%d.%m.%Y", reading=True), java_format("%Y%m%d", reading=True)
    ("dd'.'MM'.'yyyy' at 'HH", "d'.'M'.'yyyy", 'yyyyMMdd')
    """
    parts = re.findall(r"%-?.|[^%]+", text)
    kinds = [part.startswith("%") and part != "%%" for part in parts]
    written = []
    for i, part in enumerate(parts):
        if not kinds[i]:
            written.append("'" + ("%" if part == "%%" else part.replace("'", "''")) + "'")
            continue
        letters = _DIRECTIVES.get(part[1:], part[1:])
        alone = not any(kinds[max(0, i - 1) : i] + kinds[i + 1 : i + 2])
        written.append(letters[0] if reading and alone and letters in ("MM", "dd", "HH", "mm", "ss", "hh") else letters)
    return "".join(written)
