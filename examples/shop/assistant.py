"""Assistant: FastAPI under uvicorn. Answers questions with language models, searches, sums up."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import boto3
import httpx
from anthropic import AsyncAnthropic
from boto3.dynamodb.conditions import Key
from fastapi import BackgroundTasks, FastAPI, Header, Response
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI, OpenAI
from opentelemetry import trace
from prometheus_client import CONTENT_TYPE_LATEST, Counter, generate_latest
from pydantic import BaseModel

from spancost import attribute

app = FastAPI()
tracer = trace.get_tracer("shop.assistant")
questions_asked = Counter("shop_questions_asked", "Questions asked.")

openai = AsyncOpenAI()
openai_sync = OpenAI()
anthropic = AsyncAnthropic()
aws: Any = boto3.session.Session()
s3 = aws.client("s3")
sns = aws.client("sns")
orders = aws.resource("dynamodb").Table("shop-orders")

OFFICE_URL = os.environ["SHOP_OFFICE_URL"]
TOPIC_ARN = os.environ["SHOP_TOPIC_ARN"]
# Long enough for the prompt cache of the services, which begins at 1 024 tokens.
HOUSE_RULES = "You serve a small shop. Be brief, be kind, never promise a day of delivery. " * 60


class Question(BaseModel):
    question: str


class Feedback(BaseModel):
    feedback_id: str
    text: str


@app.post("/chat")
async def chat(asked: Question) -> dict[str, str]:
    questions_asked.inc()
    return {"answer": await answer(asked.question)}


@attribute(feature="chat")
async def answer(question: str) -> str:
    completion = await openai.chat.completions.create(
        model="gpt-5-mini",
        messages=[{"role": "system", "content": HOUSE_RULES}, {"role": "user", "content": question}],
    )
    return completion.choices[0].message.content or ""


@app.post("/chat/stream")
async def chat_stream(asked: Question) -> StreamingResponse:
    async def words() -> AsyncIterator[str]:
        chunks = await openai.chat.completions.create(
            model="gpt-4o-mini",
            messages=[{"role": "system", "content": HOUSE_RULES}, {"role": "user", "content": asked.question}],
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content

    questions_asked.inc()
    return StreamingResponse(words(), media_type="text/plain")


@app.post("/search")
def search(asked: Question, x_tenant: str = Header("nobody")) -> dict[str, int]:
    with attribute(feature="search", tenant=x_tenant):
        found = openai_sync.embeddings.create(model="text-embedding-3-small", input=[asked.question])
        with tracer.start_as_current_span("rank results"):
            score = int(sum(found.data[0].embedding))
        rows = orders.query(KeyConditionExpression=Key("tenant").eq(x_tenant), Limit=20)["Items"]
    return {"found": len(rows), "score": score}


@app.post("/summaries")
async def summary(asked: Question) -> dict[str, str]:
    async with httpx.AsyncClient(base_url=OFFICE_URL) as office:
        figures = await office.get("/export/")
    message = await anthropic.messages.create(
        model="claude-sonnet-5",
        max_tokens=200,
        system=[{"type": "text", "text": HOUSE_RULES, "cache_control": {"type": "ephemeral"}}],
        messages=[{"role": "user", "content": asked.question + figures.text[:400]}],
    )
    return {"summary": "".join(block.text for block in message.content if block.type == "text")}


@app.post("/feedback", status_code=202)
async def feedback(given: Feedback, tasks: BackgroundTasks) -> dict[str, str]:
    tasks.add_task(keep_feedback, given)
    return {"feedback_id": given.feedback_id}


def keep_feedback(given: Feedback) -> None:
    """Runs after the answer has been sent."""
    with attribute(feature="feedback"):
        s3.put_object(Bucket="shop-assets", Key=f"feedback/{given.feedback_id}", Body=given.text.encode())
        sns.publish(TopicArn=TOPIC_ARN, Message=given.text)


@app.get("/metrics")
def metrics() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@app.get("/health")
async def health() -> str:
    return "ok"
